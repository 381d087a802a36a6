//! How answers are printed: tables for people, JSON for scripts. What others wrote is shown without its control characters.

use std::io::ErrorKind;

use serde::Serialize;

use super::Context;
use super::failure::{Code, Failure};

/// How a command prints data.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people; may change.
    #[default]
    Text,
    /// For scripts; field names are stable.
    Json,
}

/// Prints bytes as they are. A reader that went away (`| head`) is not a failure.
pub(super) fn bytes(context: &mut Context<'_>, bytes: &[u8]) -> Result<(), Failure> {
    match context.out.write_all(bytes).and_then(|()| context.out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::because(Code::Failed, error, "cannot write to stdout"))
        }
        _ => Ok(()),
    }
}

/// Prints text as it is, with a line end.
pub(super) fn line(context: &mut Context<'_>, text: &str) -> Result<(), Failure> {
    bytes(context, format!("{text}\n").as_bytes())
}

/// Prints JSON.
pub(super) fn json(context: &mut Context<'_>, value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::because(Code::Failed, error, "answer cannot be shown as JSON"))?;
    line(context, &text)
}

/// Tells a person something that is not data. Scripts may ignore it.
pub(super) fn hint(context: &mut Context<'_>, text: &str) {
    // A hint that nobody can read is not worth failing for.
    let _ = writeln!(context.err, "{text}");
}

/// Prints rows under headings, in columns.
pub(super) fn table<const N: usize>(
    context: &mut Context<'_>,
    head: [&str; N],
    rows: &[[String; N]],
) -> Result<(), Failure> {
    let rows: Vec<_> = rows.iter().map(|row| row.each_ref().map(|cell| shown(cell))).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].len()]).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in [head.map(str::to_owned)].iter().chain(&rows) {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("   ").trim_end());
        text.push('\n');
    }
    bytes(context, text.as_bytes())
}

/// Prints names with values, one a line.
pub(super) fn pairs(context: &mut Context<'_>, pairs: &[(&str, String)]) -> Result<(), Failure> {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 1;
    let line = |(name, value): &(&str, String)| format!("{:width$} {}\n", format!("{name}:"), shown(value));
    let text: String = pairs.iter().map(line).collect();
    bytes(context, text.as_bytes())
}

/// `text` without what could steer a terminal.
pub(super) fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
