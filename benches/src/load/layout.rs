//! Who publishes where, and who listens.

use std::ops::Range;

/// How many publish to a great number of filters, on how many topics each, and how many listen.
const GRID: (usize, usize, usize) = (4, 250, 10);

/// Who publishes where, and who listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// So many publishers and as many subscribers, one each to a topic.
    Pairs(usize),
    /// One publisher, and so many subscribers to its topic.
    FanOut(usize),
    /// So many publishers, and one subscriber to all their topics.
    FanIn(usize),
    /// So many publishers and as many subscribers, all of whom get everything, by filters with
    /// wildcards.
    Wild(usize),
    /// So many filters, three in ten of them with a wildcard, of ten subscribers; four publishers
    /// have 1,000 topics that are spread over the filters and match one of them each.
    Grid(usize),
    /// One publisher with so many topics, and one subscriber to all of them.
    Tree(usize),
}

impl Shape {
    pub(super) fn publishers(self) -> usize {
        match self {
            Self::Pairs(n) | Self::FanIn(n) | Self::Wild(n) => n,
            Self::FanOut(_) | Self::Tree(_) => 1,
            Self::Grid(_) => GRID.0,
        }
    }

    pub(super) fn subscribers(self) -> usize {
        match self {
            Self::Pairs(n) | Self::FanOut(n) | Self::Wild(n) => n,
            Self::FanIn(_) | Self::Tree(_) => 1,
            Self::Grid(_) => GRID.2,
        }
    }

    /// How many topics a publisher has.
    fn share(self) -> usize {
        match self {
            Self::Pairs(_) | Self::FanOut(_) | Self::FanIn(_) | Self::Wild(_) => 1,
            Self::Grid(_) => GRID.1,
            Self::Tree(topics) => topics,
        }
    }

    /// How many topics there are, of all publishers.
    pub(super) fn topics(self) -> usize {
        self.publishers() * self.share()
    }

    /// The numbers of a publisher's topics.
    pub(super) fn topics_of(self, publisher: usize) -> Range<usize> {
        let share = self.share();
        share * publisher..share * (publisher + 1)
    }

    /// What clients with this name call a topic.
    pub(super) fn topic(self, name: &str, n: usize) -> String {
        match self {
            Self::Grid(filters) => format!("load/{name}/{}/value", n * filters / self.topics()),
            Self::Wild(_) => format!("load/{name}/{n}/value"),
            Self::Pairs(_) | Self::FanOut(_) | Self::FanIn(_) | Self::Tree(_) => {
                format!("load/{name}/{n}")
            }
        }
    }

    /// What a subscriber subscribes to.
    pub(super) fn filters(self, name: &str, subscriber: usize) -> Vec<String> {
        let filter = match self {
            Self::Pairs(_) => self.topic(name, subscriber),
            Self::FanOut(_) => self.topic(name, 0),
            Self::FanIn(_) | Self::Tree(_) => format!("load/{name}/+"),
            Self::Wild(_) => match subscriber % 3 {
                0 => format!("load/{name}/#"),
                1 => format!("load/{name}/+/value"),
                _ => format!("+/{name}/+/#"),
            },
            Self::Grid(filters) => {
                let last = if subscriber < 7 { "value" } else { "+" };
                let own = (subscriber..filters).step_by(GRID.2);
                return own.map(|n| format!("load/{name}/{n}/{last}")).collect();
            }
        };
        vec![filter]
    }

    /// The subscribers to whom a topic's messages come.
    pub(super) fn listeners(self, topic: usize) -> Range<usize> {
        match self {
            Self::Pairs(_) => topic..topic + 1,
            Self::FanOut(n) | Self::Wild(n) => 0..n,
            Self::FanIn(_) | Self::Tree(_) => 0..1,
            Self::Grid(filters) => {
                let listener = topic * filters / self.topics() % GRID.2;
                listener..listener + 1
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The simplest way to tell whether a filter matches.
    fn matches(filter: &str, topic: &str) -> bool {
        let mut topic = topic.split('/');
        for level in filter.split('/') {
            match (level, topic.next()) {
                ("#", _) => return true,
                ("+", Some(_)) => {}
                (level, Some(name)) if level == name => {}
                _ => return false,
            }
        }
        topic.next().is_none()
    }

    #[test]
    fn the_listeners_of_a_topic_are_those_whose_filters_match() {
        let shapes = [
            Shape::Pairs(10),
            Shape::FanOut(10),
            Shape::FanIn(10),
            Shape::Wild(10),
            Shape::Grid(1000),
            Shape::Grid(3000),
            Shape::Tree(50),
        ];
        for shape in shapes {
            let filters: Vec<_> = (0..shape.subscribers())
                .map(|n| shape.filters("x", n))
                .collect();
            for n in 0..shape.topics() {
                let topic = shape.topic("x", n);
                let listeners: Vec<_> = filters
                    .iter()
                    .enumerate()
                    .filter(|(_, filters)| filters.iter().any(|it| matches(it, &topic)))
                    .map(|(n, _)| n)
                    .collect();
                let expected: Vec<_> = shape.listeners(n).collect();
                assert_eq!(listeners, expected, "{shape:?}, {topic}");
            }
        }
    }

    #[test]
    fn publishers_have_all_topics_and_share_none() {
        for shape in [Shape::Pairs(10), Shape::Grid(5000), Shape::Tree(50)] {
            let topics: Vec<_> = (0..shape.publishers())
                .flat_map(|n| shape.topics_of(n))
                .collect();
            assert_eq!(topics, (0..shape.topics()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_grid_has_as_many_filters_as_it_says() {
        let shape = Shape::Grid(1234);
        let filters = (0..shape.subscribers()).map(|n| shape.filters("x", n).len());
        assert_eq!(filters.sum::<usize>(), 1234);
    }
}
