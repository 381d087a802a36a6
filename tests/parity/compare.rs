//! Whether two runs of a row are the same, but for what must differ (`normalise.sed`).

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::table::Row;
use crate::way::Outcome;

/// How two runs compare.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Every byte, before anything was normalised.
    Identical,
    /// Every byte but what must differ.
    Same,
    /// Not the same, or not what was expected of both; the text says how.
    Differ(String),
}

/// Compares them.
///
/// # Errors
/// When `sed` or `diff` cannot be run.
pub(crate) fn compare(row: &Row, straight: &Outcome, through: &Outcome, dir: &Path) -> Result<Verdict> {
    let mut differences = String::new();
    if (straight.code, through.code) != (row.code, row.code) {
        differences +=
            &format!("exit code: {} straight, {} through, {} expected\n", straight.code, through.code, row.code);
    }
    for (name, one, other) in
        [("stdout", &straight.stdout, &through.stdout), ("stderr", &straight.stderr, &through.stderr)]
    {
        if one == other {
            continue;
        }
        differences += &difference(name, &normalise(one)?, &normalise(other)?, dir)?;
    }
    if differences.is_empty() {
        let identical = straight.stdout == through.stdout && straight.stderr == through.stderr;
        return Ok(if identical { Verdict::Identical } else { Verdict::Same });
    }
    if straight.code != row.code {
        let shown = String::from_utf8_lossy(&straight.stderr);
        differences += &format!("straight stderr was:\n{shown:.3000}\n");
    }
    Ok(Verdict::Differ(differences))
}

fn normalise(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut sed = Command::new("sed");
    sed.args(["-E", include_str!("normalise.sed")]).env("LC_ALL", "C");
    let mut child = sed.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("running sed")?;
    let mut input = child.stdin.take().context("sed has no stdin")?;
    let output = std::thread::scope(|scope| {
        // Its end closes the pipe; that sed stopped reading shows in its exit code.
        scope.spawn(move || input.write_all(bytes));
        child.wait_with_output()
    })?;
    ensure!(output.status.success(), "sed failed");
    Ok(output.stdout)
}

/// A unified diff of two texts, empty if they are equal.
fn difference(name: &str, one: &[u8], other: &[u8], dir: &Path) -> Result<String> {
    let file = |way: &str, bytes: &[u8]| -> Result<String> {
        std::fs::write(dir.join(format!("{name}.{way}")), bytes)?;
        Ok(format!("{name}.{way}"))
    };
    let (one, other) = (file("straight", one)?, file("through", other)?);
    let output = Command::new("diff").args(["--unified=2", "--text", &one, &other]).current_dir(dir).output()?;
    ensure!(output.status.code().is_some_and(|code| code < 2), "diff failed");
    Ok(String::from_utf8_lossy(&output.stdout).lines().take(60).map(|line| format!("{line}\n")).collect())
}

#[test]
fn normalising_takes_what_must_differ_and_nothing_else() -> Result<()> {
    let cases = [
        ("at https://127.0.0.1:4711/clusters/edge-1 now", "at SERVER now"),
        ("at https://127.0.0.1:4711/clusters/edge-2 now", "at SERVER/clusters/edge-2 now"),
        ("one   1     3m2s", "one  1  AGE"),
        ("one   1     2d   <none>", "one  1  AGE  <none>"),
        ("uid: 33b04077-403e-4daf-886a-a3fc7cf7ac24", "uid: UID"),
        ("  resourceVersion: \"248\"", "  resourceVersion: \"RV\""),
        ("pod/web-5b7df8b546-6gh9v created", "pod/web-5b7df8b546-POD created"),
        ("since 2026-11-22T19:36:56Z", "since TIME"),
        ("exit code 42", "exit code 42"),
        ("web    3/3     3", "web    3/3     3"),
        ("deployment.apps/web-3 scaled to 5s", "deployment.apps/web-3 scaled to 5s"),
        ("generation: 7", "generation: 7"),
    ];
    for (text, expected) in cases {
        assert_eq!(String::from_utf8(normalise(text.as_bytes())?)?.trim_end(), expected);
    }
    Ok(())
}
