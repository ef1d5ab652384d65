//! What comes of several runs.

use super::scenario::{Figure, Run};
use super::table::Cell;

/// What a broker did wrong with messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// How many did not come.
    pub lost: u64,
    /// How many came again.
    pub repeated: u64,
    /// How many came after one that was published later.
    pub disordered: u64,
    /// How many connections it ended that should have gone on.
    pub broken: u64,
}

impl Faults {
    /// In words, if there are any.
    pub fn told(self) -> Option<String> {
        let faults = [
            (self.lost, "lost"),
            (self.repeated, "repeated"),
            (self.disordered, "out of order"),
            (self.broken, "connections broken"),
        ];
        let some = faults.iter().filter(|(count, _)| *count > 0);
        let words: Vec<_> = some
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        (!words.is_empty()).then(|| words.join(", "))
    }

    /// The worse of both, in each respect.
    pub fn worst(self, other: Self) -> Self {
        Self {
            lost: self.lost.max(other.lost),
            repeated: self.repeated.max(other.repeated),
            disordered: self.disordered.max(other.disordered),
            broken: self.broken.max(other.broken),
        }
    }

    /// Both.
    pub fn and(self, other: Self) -> Self {
        Self {
            lost: self.lost + other.lost,
            repeated: self.repeated + other.repeated,
            disordered: self.disordered + other.disordered,
            broken: self.broken + other.broken,
        }
    }
}

/// What came of a scenario's runs with one broker.
#[derive(Debug, Default)]
pub struct Outcomes {
    runs: Vec<Run>,
    errors: Vec<String>,
}

impl Outcomes {
    /// One more run.
    pub fn push(&mut self, outcome: Result<Run, String>) {
        match outcome {
            Ok(run) => self.runs.push(run),
            Err(error) => self.errors.push(error),
        }
    }

    /// The figures that there are, in the order of the run that has most of them.
    pub fn figures(&self) -> Vec<Figure> {
        let most = self.runs.iter().max_by_key(|run| run.figures.len());
        most.map_or(Vec::new(), |run| {
            run.figures.iter().map(|(figure, _)| *figure).collect()
        })
    }

    /// The median of a figure, and what is to be said about it.
    pub fn cell(&self, figure: Figure) -> Cell {
        let values = self.runs.iter().filter_map(|run| {
            let mut figures = run.figures.iter();
            figures.find(|(it, _)| *it == figure).map(|(_, it)| *it)
        });
        let faults = self.runs.iter().map(|run| run.faults);
        let mut notes: Vec<_> = faults
            .fold(Faults::default(), Faults::worst)
            .told()
            .into_iter()
            .collect();
        if let Some(error) = self.errors.first() {
            notes.push(format!("{} failed: {error}", self.errors.len()));
        }
        let note = (!notes.is_empty()).then(|| notes.join("; "));
        Cell {
            value: median(values.collect()),
            note,
        }
    }
}

/// The one in the middle, or what is between the two there.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(value: f64, lost: u64) -> Run {
        let faults = Faults {
            lost,
            ..Faults::default()
        };
        Run {
            figures: vec![(Figure::Message, value)],
            faults,
        }
    }

    #[test]
    fn the_median_is_in_the_middle_whatever_the_order() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![7.0]), Some(7.0));
        assert_eq!(median(vec![9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![9.0, 1.0, 2.0, 4.0]), Some(3.0));
    }

    #[test]
    fn the_worst_run_is_told_beside_the_median() {
        let mut outcomes = Outcomes::default();
        for outcome in [Ok(run(3.0, 0)), Ok(run(1.0, 7)), Ok(run(2.0, 4))] {
            outcomes.push(outcome);
        }
        outcomes.push(Err("refused".to_owned()));
        let cell = outcomes.cell(Figure::Message);
        assert_eq!(cell.value, Some(2.0));
        assert_eq!(cell.note.as_deref(), Some("7 lost; 1 failed: refused"));
        assert_eq!(outcomes.figures(), [Figure::Message]);
    }

    #[test]
    fn what_was_never_measured_has_no_figure() {
        let cell = Outcomes::default().cell(Figure::Message);
        assert_eq!((cell.value, cell.note), (None, None));
    }

    #[test]
    fn no_faults_need_no_words() {
        assert_eq!(Faults::default().told(), None);
        let faults = Faults {
            lost: 1,
            repeated: 0,
            disordered: 2,
            broken: 0,
        };
        assert_eq!(faults.told().as_deref(), Some("1 lost, 2 out of order"));
    }
}
