//! Shared subscriptions: groups whose members share the messages of a filter.

mod shards;
#[cfg(test)]
mod tests;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::broker::ShareStrategy;
use crate::map::{HashKey, split_mix};
use crate::session::{SessionId, Subscription};
use crate::topic::{FilterId, FilterTree, SharedFilter};

use slotmap::SlotMap;

pub(crate) use shards::Candidates;
use shards::{Abroad, Branch};

/// After so many members who are looked at, the best so far will do, however many there are.
const LOOKS: usize = 64;

slotmap::new_key_type! {
    /// The handle of a group, generational: one that is gone names no other.
    pub(crate) struct GroupId;
}

/// All shared subscriptions of a broker.
#[derive(Debug)]
pub(crate) struct Shares {
    /// The members of each group, under the whole `$share/<group>/<filter>`.
    members: FilterTree<SessionId, Member>,
    /// The groups of each filter.
    matching: FilterTree<GroupId, ()>,
    groups: SlotMap<GroupId, Group>,
    /// How groups may have members at other shards as well; `None` if there are none.
    abroad: Option<Abroad>,
    /// The state of the generator for random choices.
    random: u64,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    subscription: Subscription,
    group: GroupId,
}

#[derive(Debug, Default)]
struct Group {
    members: FilterId,
    matching: FilterId,
    /// The member whose turn it is, or who is stuck to.
    next: usize,
    /// How it is written, if there are other shards.
    name: Option<Arc<str>>,
    /// What there is of it at other shards, in their order.
    branches: Vec<Branch>,
    /// How many of the members here are connected. It is counted if there are other shards, and so
    /// are these:
    present: u32,
    /// whose turn it is among the members of all shards,
    position: u32,
    /// and the shard that is stuck to.
    stuck: Option<u8>,
}

/// How able a member is to take a message; the greater, the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// It may not or cannot have it.
    Unable,
    /// Its queue is full.
    Full,
    /// It is absent, and its session would keep it.
    Absent,
    /// It is there, and has much to take already.
    Busy,
    /// It would get it at once.
    Ready,
}

/// Whom a message goes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    Member(SessionId, Subscription),
    /// There are members who could have it, and the queues of all of them are full.
    Full,
    /// None of the members is as able as was asked for.
    Nobody,
}

impl Shares {
    /// No groups yet. `are_several` says whether there are other shards with members of theirs.
    pub(crate) fn new(key: HashKey, seed: u64, are_several: bool) -> Self {
        let abroad = are_several.then(|| Abroad::new(key));
        Self {
            members: FilterTree::new(key),
            matching: FilterTree::new(key),
            groups: SlotMap::with_key(),
            abroad,
            random: seed,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// How many memberships there are.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// The group written `name`, as its members' list is called.
    pub(crate) fn find(&self, name: &str) -> Option<FilterId> {
        self.members.find(name)
    }

    /// The subscription of a member.
    pub(crate) fn get(&self, members: FilterId, session: SessionId) -> Option<&Subscription> {
        let member = self.members.get(members, session)?;
        Some(&member.subscription)
    }

    /// The same, to change it.
    pub(crate) fn get_mut(
        &mut self,
        members: FilterId,
        session: SessionId,
    ) -> Option<&mut Subscription> {
        let member = self.members.get_mut(members, session)?;
        Some(&mut member.subscription)
    }

    /// The group written `name`, wherever its members are.
    fn group(&self, name: &str) -> Option<GroupId> {
        if let Some(abroad) = &self.abroad {
            return abroad.by_name.get(name).copied();
        }
        let members = self.members.find(name)?;
        let (_, member) = self.members.subscribers(members).first()?;
        Some(member.group)
    }

    /// A group that has no member yet.
    fn found(&mut self, name: &str, shared: SharedFilter<'_>) -> GroupId {
        let id = self.groups.insert(Group::default());
        let matching = self.matching.insert(shared.filter, id, ()).filter;
        if let Some(group) = self.groups.get_mut(id) {
            group.matching = matching;
            if let Some(abroad) = &mut self.abroad {
                let name = Arc::from(name);
                group.name = Some(Arc::clone(&name));
                abroad.by_name.insert(name, id);
            }
        }
        id
    }

    /// Lets a session join the group written `name`, which
    /// [`parse_shared`](crate::topic::parse_shared) took apart, or changes its subscription.
    /// `is_present` says whether its client is connected.
    pub(crate) fn join(
        &mut self,
        name: &str,
        shared: SharedFilter<'_>,
        session: SessionId,
        subscription: Subscription,
        is_present: bool,
    ) -> FilterId {
        let group = match self.group(name) {
            Some(group) => group,
            None => self.found(name, shared),
        };
        let member = Member {
            subscription,
            group,
        };
        let inserted = self.members.insert(name, session, member);
        if let Some(it) = self.groups.get_mut(group) {
            it.members = inserted.filter;
            if inserted.replaced.is_none() {
                it.present += u32::from(is_present);
                self.has_changed(group);
            }
        }
        inserted.filter
    }

    /// Takes a session out of a group; false if it is no member. `is_present` says whether its
    /// client is connected.
    pub(crate) fn leave(
        &mut self,
        members: FilterId,
        session: SessionId,
        is_present: bool,
    ) -> bool {
        let Some(member) = self.members.remove(members, session) else {
            return false;
        };
        let is_last = self.members.subscribers(members).is_empty();
        if let Some(group) = self.groups.get_mut(member.group) {
            group.present = group.present.saturating_sub(u32::from(is_present));
            if is_last {
                // The handle may come to stand for another group's list.
                group.members = FilterId::default();
            }
        }
        self.has_changed(member.group);
        self.drop_if_empty(member.group);
        true
    }

    /// The members of a group.
    pub(crate) fn members(&self, group: GroupId) -> impl Iterator<Item = SessionId> {
        let members = self.groups.get(group).map(|group| group.members);
        let members = members.unwrap_or_default();
        self.members.subscribers(members).iter().map(|(id, _)| *id)
    }

    /// The subscription of a member.
    pub(crate) fn subscription(
        &self,
        members: FilterId,
        session: SessionId,
    ) -> Option<Subscription> {
        self.members.get(members, session).map(|it| it.subscription)
    }

    /// How a group is written, `$share/` included; empty if it is gone.
    pub(crate) fn written(&self, group: GroupId) -> String {
        let mut name = String::new();
        if let Some(group) = self.groups.get(group) {
            match &group.name {
                Some(written) => name.push_str(written),
                None => self.members.write_filter(group.members, &mut name),
            }
        }
        name
    }

    /// Forgets a group that has no member anywhere.
    fn drop_if_empty(&mut self, id: GroupId) {
        let is_empty = self.groups.get(id).is_some_and(|group| {
            group.branches.is_empty() && self.members.subscribers(group.members).is_empty()
        });
        if is_empty && let Some(group) = self.groups.remove(id) {
            self.matching.remove(group.matching, id);
            if let (Some(abroad), Some(name)) = (&mut self.abroad, &group.name) {
                abroad.by_name.remove(name);
            }
        }
    }

    /// Calls `f` for every group whose filter matches; returns how many places were looked at.
    pub(crate) fn for_each_match(&self, topic: &str, mut f: impl FnMut(GroupId)) -> usize {
        self.matching.for_each_match(topic, |_, groups| {
            groups.iter().for_each(|(group, ())| f(*group));
        })
    }

    /// Chooses the member who gets the next message, of those here that are at least that able.
    /// `standing` says how able one is and how much it has already. Also returns how many members
    /// were looked at.
    pub(crate) fn choose(
        &mut self,
        group: GroupId,
        strategy: ShareStrategy,
        at_least: Standing,
        mut standing: impl FnMut(SessionId, Subscription) -> (Standing, usize),
    ) -> (Choice, usize) {
        let Some(group) = self.groups.get_mut(group) else {
            return (Choice::Nobody, 0);
        };
        let members = self.members.subscribers(group.members);
        let count = members.len();
        if count == 0 {
            return (Choice::Nobody, 0);
        }
        let start = match strategy {
            ShareStrategy::Random => {
                usize::try_from(split_mix(&mut self.random) % count as u64).unwrap_or(0)
            }
            _ => group.next % count,
        };
        let mut best = (Standing::Unable, core::cmp::Reverse(usize::MAX));
        let mut chosen = start;
        let mut looked = 0;
        for place in (start..count).chain(0..start) {
            let Some((session, member)) = members.get(place) else {
                break;
            };
            looked += 1;
            let (standing, load) = standing(*session, member.subscription);
            let candidate = (standing, core::cmp::Reverse(load));
            let is_better = match strategy {
                ShareStrategy::LeastInFlight => candidate > best,
                _ => standing > best.0,
            };
            if is_better {
                best = candidate;
                chosen = place;
            }
            let will_do = best.0 == Standing::Ready && strategy != ShareStrategy::LeastInFlight;
            if will_do || (looked >= LOOKS && best.0 > Standing::Full) {
                break;
            }
        }
        match best.0 {
            Standing::Unable => return (Choice::Nobody, looked),
            Standing::Full => return (Choice::Full, looked),
            able if able < at_least => return (Choice::Nobody, looked),
            _ => {}
        }
        group.next = match strategy {
            ShareStrategy::Sticky => chosen,
            _ => chosen + 1,
        };
        let choice = members.get(chosen).map_or(Choice::Nobody, |(id, member)| {
            Choice::Member(*id, member.subscription)
        });
        (choice, looked)
    }
}
