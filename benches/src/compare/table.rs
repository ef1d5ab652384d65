//! The table of results.

use std::fmt::Write as _;

/// A figure of a broker, if there is one, and what is to be said about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    /// The figure.
    pub value: Option<f64>,
    /// What went wrong.
    pub note: Option<String>,
}

/// A figure of all brokers.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it is.
    pub title: String,
    /// In the order of the brokers.
    pub cells: Vec<Cell>,
}

/// All figures.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// What the columns are called.
    pub brokers: Vec<String>,
    /// The column that the others are compared with.
    pub reference: Option<usize>,
    /// The columns of which the last column is the quotient, and what that is called.
    pub quotient: Option<(usize, usize, String)>,
    /// The figures.
    pub rows: Vec<Row>,
}

impl Table {
    /// For a terminal, or as Markdown. What is to be said about figures stands below.
    pub fn text(&self, is_markdown: bool) -> String {
        let mut notes = Vec::new();
        let mut lines = vec![self.head()];
        for row in &self.rows {
            lines.push(self.line(row, &mut notes));
        }
        let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
        let width = |n: usize| {
            let cells = lines.iter().filter_map(|line| line.get(n));
            cells.map(|it| it.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        if is_markdown {
            let rule = widths.iter().enumerate();
            let rule = rule.map(|(n, width)| match n {
                0 => "-".repeat(*width),
                _ => format!("{}:", "-".repeat(width.saturating_sub(1))),
            });
            lines.insert(1, rule.collect());
        }
        let mut text = String::new();
        for line in &lines {
            let cells = line.iter().zip(&widths).enumerate();
            let cells = cells.map(|(n, (cell, width))| match n {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            let cells: Vec<_> = cells.collect();
            let _ = match is_markdown {
                true => writeln!(text, "| {} |", cells.join(" | ")),
                false => writeln!(text, "{}", cells.join("  ")),
            };
        }
        if !notes.is_empty() {
            text.push('\n');
        }
        for (n, note) in notes.iter().enumerate() {
            let end = if is_markdown { "  " } else { "" };
            let _ = writeln!(text, "[{}] {note}{end}", n + 1);
        }
        text
    }

    fn head(&self) -> Vec<String> {
        let mut head = vec![String::new()];
        head.extend(self.brokers.iter().cloned());
        head.extend(self.quotient.iter().map(|(_, _, name)| name.clone()));
        head
    }

    fn line(&self, row: &Row, notes: &mut Vec<String>) -> Vec<String> {
        let value = |n: usize| row.cells.get(n).and_then(|cell| cell.value);
        let reference = self.reference.and_then(value);
        let mut line = vec![row.title.clone()];
        for (n, cell) in row.cells.iter().enumerate() {
            let reference = reference.filter(|_| self.reference != Some(n));
            let mut text = cell.text(reference);
            if let Some(note) = &cell.note {
                let broker = self.brokers.get(n).map_or("", |it| it.as_str());
                let note = format!("{broker}: {note}");
                // The figures of a run share what went wrong in it.
                let known = notes.iter().position(|it| *it == note);
                let number = known.unwrap_or_else(|| {
                    notes.push(note);
                    notes.len() - 1
                });
                let _ = write!(text, " [{}]", number + 1);
            }
            line.push(text);
        }
        if let Some((of, by, _)) = self.quotient {
            let quotient = value(of).zip(value(by)).filter(|(_, by)| *by > 0.0);
            line.push(quotient.map_or_else(none, |(of, by)| format!("{:.1}", of / by)));
        }
        line
    }
}

impl Cell {
    fn text(&self, reference: Option<f64>) -> String {
        match (self.value, reference) {
            (None, _) => none(),
            (Some(value), Some(reference)) if reference > 0.0 && value > 0.0 => {
                format!("{} ({})", number(value), ratio(value / reference))
            }
            (Some(value), _) => number(value),
        }
    }
}

fn none() -> String {
    "-".to_owned()
}

/// With three digits that count, about.
fn number(value: f64) -> String {
    match value.abs() {
        1000.0.. => thousands(value),
        100.0..1000.0 => format!("{value:.0}"),
        10.0..100.0 => format!("{value:.1}"),
        1.0..10.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n) % 3 == 0 && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A part of the reference as a fraction, which says more than one of a hundred.
fn ratio(ratio: f64) -> String {
    match ratio {
        ..0.5 => format!("1/{:.1}", 1.0 / ratio),
        _ => format!("{ratio:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(value: f64) -> Cell {
        Cell {
            value: Some(value),
            note: None,
        }
    }

    #[test]
    fn numbers_have_the_digits_that_count() {
        let numbers = [0.0461, 0.2, 3.289, 41.13, 599.4, 16_712.3, 1_234_567.0];
        let texts = [
            "0.046",
            "0.200",
            "3.29",
            "41.1",
            "599",
            "16,712",
            "1,234,567",
        ];
        assert_eq!(numbers.map(number), texts);
        assert_eq!(number(-123_456.0), "-123,456");
    }

    #[test]
    fn ratios_are_fractions_where_they_are_small() {
        assert_eq!([0.0625, 0.85, 1.3].map(ratio), ["1/16.0", "0.85", "1.30"]);
    }

    #[test]
    fn a_table_tells_figures_ratios_and_what_went_wrong() {
        let lossy = Cell {
            value: Some(4.0),
            note: Some("3 lost".to_owned()),
        };
        let row = |title: &str| Row {
            title: title.to_owned(),
            cells: vec![cell(0.2), cell(3.2), lossy.clone(), Cell::default()],
        };
        let table = Table {
            brokers: ["Wherry", "Mosquitto", "other", "absent"]
                .map(str::to_owned)
                .into(),
            reference: Some(1),
            quotient: Some((0, 1, "part".to_owned())),
            rows: vec![row("pairs"), row("wild")],
        };
        let expected = "\
|       |         Wherry | Mosquitto |           other | absent | part |
| ----- | -------------: | --------: | --------------: | -----: | ---: |
| pairs | 0.200 (1/16.0) |      3.20 | 4.00 (1.25) [1] |      - |  0.1 |
| wild  | 0.200 (1/16.0) |      3.20 | 4.00 (1.25) [1] |      - |  0.1 |

[1] other: 3 lost  
";
        assert_eq!(table.text(true), expected);
        let terminal = table.text(false);
        assert!(terminal.contains("pairs  0.200 (1/16.0)       3.20  4.00 (1.25) [1]"));
        assert!(!terminal.contains('|'));
    }
}
