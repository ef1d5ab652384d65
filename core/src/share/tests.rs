use super::*;
use crate::packet::QoS;
use crate::topic::parse_shared;

const SUBSCRIPTION: Subscription = Subscription {
    identifier: 0,
    qos: QoS::AtLeastOnce,
    no_local: false,
    retain_as_published: false,
    live: true,
};

struct Group {
    shares: Shares,
    sessions: SlotMap<SessionId, ()>,
    members: Vec<SessionId>,
}

impl Group {
    fn of(count: usize) -> Self {
        let mut group = Self {
            shares: Shares::new(HashKey::from_seed(1), 1, false),
            sessions: SlotMap::with_key(),
            members: Vec::new(),
        };
        for _ in 0..count {
            let id = group.sessions.insert(());
            group.members.push(id);
            join(&mut group.shares, "$share/g/a/+", id);
        }
        group
    }

    /// Who gets the next message, as a place among the members.
    fn next(
        &mut self,
        strategy: ShareStrategy,
        standing: impl Fn(usize) -> (Standing, usize),
    ) -> Option<usize> {
        let mut groups = Vec::new();
        self.shares
            .for_each_match("a/b", |group| groups.push(group));
        assert_eq!(groups.len(), 1);
        let place = |id| {
            self.members
                .iter()
                .position(|it| *it == id)
                .expect("member")
        };
        match self
            .shares
            .choose(groups[0], strategy, Standing::Absent, |id, _| {
                standing(place(id))
            })
            .0
        {
            Choice::Member(id, _) => Some(place(id)),
            _ => None,
        }
    }
}

fn join(shares: &mut Shares, name: &str, id: SessionId) -> FilterId {
    let shared = parse_shared(name).expect("valid").expect("shared");
    shares.join(name, shared, id, SUBSCRIPTION, true)
}

#[test]
fn members_take_turns() {
    let mut group = Group::of(3);
    let ready = |_| (Standing::Ready, 0);
    let got: Vec<_> = (0..6)
        .filter_map(|_| group.next(ShareStrategy::RoundRobin, ready))
        .collect();
    assert_eq!(got, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn whoever_is_able_comes_before_whoever_is_next() {
    let mut group = Group::of(3);
    let able = |place| match place {
        0 => (Standing::Absent, 0),
        1 => (Standing::Unable, 0),
        _ => (Standing::Busy, 0),
    };
    for strategy in [
        ShareStrategy::RoundRobin,
        ShareStrategy::Random,
        ShareStrategy::Sticky,
        ShareStrategy::LeastInFlight,
    ] {
        assert_eq!(group.next(strategy, able), Some(2), "{strategy:?}");
        assert_eq!(group.next(strategy, |_| (Standing::Unable, 0)), None);
    }
}

#[test]
fn a_sticky_member_stays_until_it_is_unable() {
    let mut group = Group::of(3);
    let ready = |_| (Standing::Ready, 0);
    for _ in 0..3 {
        assert_eq!(group.next(ShareStrategy::Sticky, ready), Some(0));
    }
    let without_first = |place| match place {
        0 => (Standing::Unable, 0),
        _ => (Standing::Ready, 0),
    };
    assert_eq!(group.next(ShareStrategy::Sticky, without_first), Some(1));
    assert_eq!(group.next(ShareStrategy::Sticky, ready), Some(1));
}

#[test]
fn the_least_loaded_is_chosen() {
    let mut group = Group::of(4);
    let load = |place| (Standing::Ready, [3, 1, 2, 1][place]);
    assert_eq!(group.next(ShareStrategy::LeastInFlight, load), Some(1));
    assert_eq!(group.next(ShareStrategy::LeastInFlight, load), Some(3));
}

#[test]
fn a_choice_among_many_does_not_look_at_all() {
    let count = 10 * LOOKS;
    let mut group = Group::of(count);
    let mut id = GroupId::default();
    group.shares.for_each_match("a/b", |group| id = group);
    for standing in [Standing::Absent, Standing::Busy, Standing::Ready] {
        for strategy in [
            ShareStrategy::RoundRobin,
            ShareStrategy::Random,
            ShareStrategy::Sticky,
            ShareStrategy::LeastInFlight,
        ] {
            let least = Standing::Absent;
            let shares = &mut group.shares;
            let choice = shares.choose(id, strategy, least, |_, _| (standing, 0));
            assert!(matches!(choice.0, Choice::Member(..)), "{strategy:?}");
            assert!(choice.1 <= LOOKS, "{strategy:?}: {}", choice.1);
        }
    }
    // Only if none of them can have it are the others looked at.
    let last = group.members[count - 1];
    let choice = group.shares.choose(
        id,
        ShareStrategy::Random,
        Standing::Absent,
        |id, _| match id == last {
            true => (Standing::Absent, 0),
            false => (Standing::Full, 0),
        },
    );
    assert_eq!(choice.0, Choice::Member(last, SUBSCRIPTION));
}

#[test]
fn random_choices_reach_everyone() {
    let mut group = Group::of(4);
    let mut seen = [0; 4];
    for _ in 0..100 {
        let next = group.next(ShareStrategy::Random, |_| (Standing::Ready, 0));
        seen[next.expect("ready")] += 1;
    }
    assert!(seen.iter().all(|times| *times > 5), "{seen:?}");
}

#[test]
fn a_group_ends_with_its_last_member() {
    let mut group = Group::of(2);
    let name = group.shares.find("$share/g/a/+").expect("there");
    let (a, b) = (group.members[0], group.members[1]);
    assert!(group.shares.leave(name, a, true));
    assert!(!group.shares.leave(name, a, true));
    assert_eq!(group.shares.len(), 1);
    assert!(group.shares.leave(name, b, true));
    assert!(group.shares.is_empty());
    assert_eq!(group.shares.for_each_match("a/b", |_| panic!("gone")), 1);
}

#[test]
fn groups_with_the_same_filter_are_apart() {
    let mut group = Group::of(1);
    let id = group.members[0];
    join(&mut group.shares, "$share/h/a/+", id);
    join(&mut group.shares, "$share/h/b", id);
    let mut count = 0;
    group.shares.for_each_match("a/b", |_| count += 1);
    assert_eq!(count, 2);
}
