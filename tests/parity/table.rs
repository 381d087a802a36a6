//! The table of commands: shell files of rows, each headed by `#: claim (exit code) [tag, apart]`, where only the claim must be.

use anyhow::{Context, Result, ensure};

/// The files of the table, in the order in which they run: later rows build on what earlier ones made.
const FILES: [&str; 4] = [
    include_str!("rows/1-discover.sh"),
    include_str!("rows/2-objects.sh"),
    include_str!("rows/3-workloads.sh"),
    include_str!("rows/4-streams.sh"),
];

/// In which settings a row runs beside the first, which has all of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tag {
    /// In every setting.
    All,
    /// Where plain requests are tried: another kubectl, another HTTP version.
    Core,
    /// Where sessions are tried: another kubectl, another streaming protocol.
    Stream,
}

/// One script, run straight and through.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Row {
    /// What it is about.
    pub(crate) name: &'static str,
    /// The exit code of both ways: equal failures prove nothing where success was meant.
    pub(crate) code: i32,
    /// Where else it runs.
    pub(crate) tag: Option<Tag>,
    /// It touches what both ways share: one way after the other, not both at once.
    pub(crate) apart: bool,
    /// For `sh -c`, after the prelude.
    pub(crate) script: &'static str,
}

/// All rows, in order.
///
/// # Errors
/// When a head cannot be read.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let all = FILES.iter().flat_map(|text| sections(text));
    all.map(|section| row(section).with_context(|| format!("in row {section:.40}"))).collect()
}

fn sections(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.strip_prefix("#: ").unwrap_or(text).split("\n#: ")
}

fn row(section: &'static str) -> Result<Row> {
    let (head, script) = section.split_once('\n').context("no script")?;
    let (head, tags) = match head.strip_suffix(']').and_then(|head| head.rsplit_once(" [")) {
        None => (head, ""),
        Some((head, tags)) => (head, tags),
    };
    let (mut tag, mut apart) = (None, false);
    for one in tags.split(", ").filter(|one| !one.is_empty()) {
        match one {
            "all" => tag = Some(Tag::All),
            "core" => tag = Some(Tag::Core),
            "stream" => tag = Some(Tag::Stream),
            "apart" => apart = true,
            other => anyhow::bail!("unknown tag {other}"),
        }
    }
    let (name, code) = match head.strip_suffix(')').and_then(|head| head.rsplit_once(" (")) {
        None => (head, 0),
        Some((name, code)) => (name, code.parse().context("exit code")?),
    };
    ensure!(!script.trim().is_empty(), "no script");
    Ok(Row { name, code, tag, apart, script })
}

#[test]
fn the_table_has_at_least_sixty_rows_with_names_of_their_own() -> Result<()> {
    let rows = rows()?;
    let names: std::collections::BTreeSet<&str> = rows.iter().map(|row| row.name).collect();
    assert!(rows.len() >= 60, "{}", rows.len());
    assert_eq!(names.len(), rows.len());
    let commands = rows.iter().map(|row| row.script.matches("kubectl").count()).sum::<usize>();
    assert!(commands >= 200, "{commands}");
    Ok(())
}
