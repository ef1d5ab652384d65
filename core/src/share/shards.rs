//! Groups whose members are at several shards.
//!
//! Each shard knows how many members the others have, and how many of them are connected. The shard
//! where a message is published takes one of them all in turn; one that it does not know stands for
//! the shard that chooses a member then. Whoever is connected comes before whoever is not.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Group, GroupId, Shares};
use crate::broker::ShareStrategy;
use crate::map::{HashKey, KeyedMap, split_mix};
use crate::peer::Shards;
use crate::session::SessionId;
use crate::topic::{FilterId, parse_shared};

/// What is known of groups beyond this shard.
#[derive(Debug)]
pub(super) struct Abroad {
    pub(super) by_name: KeyedMap<Arc<str>, GroupId>,
    /// The groups whose members here have changed since peers were told.
    changed: BTreeSet<Arc<str>>,
}

/// The members of a group at another shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Branch {
    shard: u8,
    members: u32,
    present: u32,
}

impl Abroad {
    pub(super) fn new(key: HashKey) -> Self {
        Self {
            by_name: KeyedMap::new(key),
            changed: BTreeSet::new(),
        }
    }
}

/// The shard that is to choose a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChosenShard {
    pub(crate) shard: u8,
    /// Whether it was chosen for members who are connected.
    pub(crate) for_present: bool,
    /// Whether there are others that could be asked.
    pub(crate) is_last: bool,
}

/// Which shards may be chosen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidates {
    /// This shard,
    pub(crate) me: u8,
    /// and whether those connected here may still be able.
    pub(crate) present_here: bool,
    /// Shards that are not asked any more.
    pub(crate) tried: Shards,
}

impl Shares {
    /// Whether a group has members at other shards.
    #[inline]
    pub(crate) fn is_abroad(&self, group: GroupId) -> bool {
        let group = self.groups.get(group);
        group.is_some_and(|group| !group.branches.is_empty())
    }

    /// The group that is written so.
    pub(crate) fn named(&self, name: &str) -> Option<GroupId> {
        self.group(name)
    }

    /// How a group is written.
    pub(crate) fn name(&self, group: GroupId) -> Option<Arc<str>> {
        self.groups.get(group)?.name.clone()
    }

    /// Chooses the shard whose member gets the next message.
    pub(crate) fn choose_shard(
        &mut self,
        group: GroupId,
        strategy: ShareStrategy,
        among: Candidates,
    ) -> Option<ChosenShard> {
        let Self {
            groups,
            members,
            random,
            ..
        } = self;
        let group = groups.get_mut(group)?;
        let here = members.subscribers(group.members).len();
        let here = u32::try_from(here).unwrap_or(u32::MAX);
        for for_present in [true, false] {
            let own = match for_present {
                true if among.present_here => group.present,
                true => 0,
                false => here,
            };
            if let Some(shard) = group.choose_shard(strategy, random, among, own, for_present) {
                let others = group.shards(among, here, false);
                let is_last = !others.into_iter().any(|(other, _)| other != shard);
                return Some(ChosenShard {
                    shard,
                    for_present,
                    is_last,
                });
            }
        }
        None
    }

    /// The client of a member is connected now, or is no longer.
    pub(crate) fn set_present(&mut self, members: FilterId, session: SessionId, is_present: bool) {
        let Some(member) = self.members.get(members, session) else {
            return;
        };
        let id = member.group;
        if let Some(group) = self.groups.get_mut(id) {
            group.present = match is_present {
                true => group.present + 1,
                false => group.present.saturating_sub(1),
            };
        }
        self.has_changed(id);
    }

    /// Peers are to be told how many members a group has here.
    pub(super) fn has_changed(&mut self, group: GroupId) {
        if let Some(abroad) = &mut self.abroad
            && let Some(name) = self.groups.get(group).and_then(|it| it.name.as_ref())
        {
            abroad.changed.insert(Arc::clone(name));
        }
    }

    /// Whether peers are to be told of any group.
    pub(crate) fn have_changed(&self) -> bool {
        let abroad = self.abroad.as_ref();
        abroad.is_some_and(|abroad| !abroad.changed.is_empty())
    }

    /// The next group that peers are to be told of, with how many members there are here, and how
    /// many of them are connected.
    pub(crate) fn next_changed(&mut self) -> Option<(Arc<str>, u32, u32)> {
        let name = self.abroad.as_mut()?.changed.pop_first()?;
        let group = self.group(&name).and_then(|id| self.groups.get(id));
        let (members, present) = group.map_or((0, 0), |group| {
            let members = self.members.subscribers(group.members).len();
            (u32::try_from(members).unwrap_or(u32::MAX), group.present)
        });
        Some((name, members, present))
    }

    /// All groups that have members here are to be told of.
    pub(crate) fn tell_all(&mut self) {
        let all: Vec<GroupId> = self.groups.keys().collect();
        for group in all {
            self.has_changed(group);
        }
    }

    /// Another shard has so many members of the group written `name`, and so many of them are
    /// connected.
    pub(crate) fn set_branch(&mut self, shard: u8, name: &str, members: u32, present: u32) {
        let Ok(Some(shared)) = parse_shared(name) else {
            return;
        };
        let id = match self.group(name) {
            Some(id) => id,
            None if members == 0 => return,
            None => self.found(name, shared),
        };
        if let Some(group) = self.groups.get_mut(id) {
            let place = group.branches.binary_search_by_key(&shard, |it| it.shard);
            let branch = Branch {
                shard,
                members,
                present,
            };
            match (place, members) {
                (Ok(place), 0) => drop(group.branches.remove(place)),
                (Ok(place), _) => group.branches[place] = branch,
                (Err(_), 0) => {}
                (Err(place), _) => group.branches.insert(place, branch),
            }
        }
        self.drop_if_empty(id);
    }

    /// Forgets the members of another shard.
    pub(crate) fn forget_shard(&mut self, shard: u8) {
        let all: Vec<GroupId> = self.groups.keys().collect();
        for id in all {
            if let Some(group) = self.groups.get_mut(id) {
                group.branches.retain(|branch| branch.shard != shard);
            }
            self.drop_if_empty(id);
        }
    }
}

impl Group {
    /// The shards that have members, with how many; `own` is the number of those here.
    fn shards(
        &self,
        among: Candidates,
        own: u32,
        for_present: bool,
    ) -> impl Iterator<Item = (u8, u32)> {
        let branches = self.branches.iter().map(move |branch| {
            let members = match for_present {
                true => branch.present,
                false => branch.members,
            };
            (branch.shard, members)
        });
        core::iter::once((among.me, own))
            .chain(branches)
            .filter(move |(shard, members)| *members > 0 && !among.tried.contains(*shard))
    }

    fn choose_shard(
        &mut self,
        strategy: ShareStrategy,
        random: &mut u64,
        among: Candidates,
        own: u32,
        for_present: bool,
    ) -> Option<u8> {
        let mut total = 0;
        let mut is_stuck = false;
        for (shard, members) in self.shards(among, own, for_present) {
            total += u64::from(members);
            is_stuck |= Some(shard) == self.stuck;
        }
        if total == 0 {
            return None;
        }
        let at = match strategy {
            ShareStrategy::Sticky if is_stuck => return self.stuck,
            ShareStrategy::Random | ShareStrategy::LeastInFlight => split_mix(random) % total,
            ShareStrategy::RoundRobin | ShareStrategy::Sticky => u64::from(self.position) % total,
        };
        let mut passed = 0;
        let mut shards = self.shards(among, own, for_present);
        let chosen = shards.find(|(_, members)| {
            passed += u64::from(*members);
            passed > at
        });
        let chosen = chosen.map(|(shard, _)| shard);
        drop(shards);
        self.position = u32::try_from(at + 1).unwrap_or(0);
        self.stuck = chosen;
        chosen
    }
}
