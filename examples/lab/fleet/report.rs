//! Figures with their units, and what each should be at most.

use std::fmt::Write;

use serde_json::{Map, Value, json};

/// Figures in the order in which they were measured.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<Figure>);

#[derive(Debug)]
struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    most: Option<f64>,
}

impl Report {
    /// Adds a figure.
    pub(crate) fn add(&mut self, name: &'static str, value: f64, unit: &'static str) {
        self.push(Figure { name, value, unit, most: None });
    }

    /// Adds a figure that should not be above `most`.
    pub(crate) fn add_at_most(&mut self, name: &'static str, value: f64, unit: &'static str, most: f64) {
        self.push(Figure { name, value, unit, most: Some(most) });
    }

    fn push(&mut self, figure: Figure) {
        eprintln!("fleet: {}", line(&figure));
        self.0.push(figure);
    }

    /// Whether no figure is above what it should be.
    pub(crate) fn met(&self) -> bool {
        self.0.iter().all(Figure::met)
    }

    /// Each figure that has a goal: its name, whether it is reached, and the figure beside the goal.
    pub(crate) fn goals(&self) -> Vec<(&'static str, bool, String)> {
        let goals = self.0.iter().filter_map(|figure| Some((figure, figure.most?)));
        goals
            .map(|(f, most)| (f.name, f.met(), format!("{:.2} {unit} (at most {most} {unit})", f.value, unit = f.unit)))
            .collect()
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut text =
            String::from("\nSimulated fleet: real hub and agents, fake API servers, one machine, loopback.\n");
        for figure in &self.0 {
            let _ = writeln!(text, "  {}", line(figure));
        }
        text
    }

    /// For scripts: name → value, unit, and goal.
    pub(crate) fn json(&self) -> Value {
        let figures: Map<String, Value> = self.0.iter().map(|f| (f.name.to_owned(), f.json())).collect();
        json!({"simulated": true, "figures": figures})
    }
}

impl Figure {
    fn met(&self) -> bool {
        self.most.is_none_or(|most| self.value <= most)
    }

    fn json(&self) -> Value {
        json!({"value": self.value, "unit": self.unit, "atMost": self.most, "met": self.met()})
    }
}

fn line(figure: &Figure) -> String {
    let Figure { name, value, unit, most } = figure;
    let goal = most.map_or(String::new(), |most| {
        format!("   (at most {most} {unit}: {})", if figure.met() { "met" } else { "NOT MET" })
    });
    format!("{name:<58} {value:>10.2} {unit}{goal}")
}
