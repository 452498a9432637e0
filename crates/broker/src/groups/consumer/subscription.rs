//! Which topics members mean: by name, and by regular expression (KIP-848: RE2J's syntax, matched against whole names).
//!
//! Expressions are resolved when a member brings a new one and when the topics change, and kept until nobody uses them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use regex::{Regex, RegexBuilder};
use segment::TopicId;

use super::assignor::Topics;
use super::limits::{REGEX_BYTES_MAX, REGEX_COMPILED_BYTES_MAX};
use super::member::MemberMetadata;
use crate::groups::topics_view::TopicsView;

/// Compiles an expression that matches whole names.
///
/// # Errors
/// What is wrong with it, in words for its author.
pub(super) fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > REGEX_BYTES_MAX {
        return Err(format!("it has more than {REGEX_BYTES_MAX} bytes"));
    }
    let build = |pattern: &str| {
        RegexBuilder::new(pattern).size_limit(REGEX_COMPILED_BYTES_MAX).dfa_size_limit(REGEX_COMPILED_BYTES_MAX).build()
    };
    // Alone first: what closes a group that it did not open would be complete between the two halves.
    build(pattern).and_then(|_| build(&format!(r"\A(?:{pattern})\z"))).map_err(|error| error.to_string())
}

/// An expression and the topics that it meant when it was last resolved.
#[derive(Debug)]
struct Resolved {
    /// `None`: a stored one that this release cannot compile; it means nothing.
    regex: Option<Regex>,
    topics: BTreeSet<TopicId>,
}

impl Resolved {
    fn resolve(&mut self, topics: &TopicsView) {
        let Some(regex) = &self.regex else { return };
        self.topics = topics.iter().filter(|topic| regex.is_match(&topic.name)).map(|topic| topic.topic_id).collect();
    }
}

/// The expressions of a group's members, resolved.
#[derive(Debug, Default)]
pub(super) struct Expressions {
    by_pattern: HashMap<String, Resolved>,
    /// Version of the view that they were resolved against.
    version: Option<u64>,
}

impl Expressions {
    /// Whether they were resolved against this view.
    pub(super) fn have_seen(&self, topics: &TopicsView) -> bool {
        self.version == Some(topics.version())
    }

    /// Forgets those that no member has, resolves those that are new, and all if the view is new.
    pub(super) fn update<'a>(&mut self, members: impl Iterator<Item = &'a MemberMetadata>, topics: &TopicsView) {
        let used: BTreeSet<&str> = members.filter_map(MemberMetadata::regex).collect();
        self.by_pattern.retain(|pattern, _| used.contains(pattern.as_str()));
        let is_new_view = !self.have_seen(topics);
        for pattern in used {
            if let Some(known) = self.by_pattern.get_mut(pattern) {
                if is_new_view {
                    known.resolve(topics);
                }
            } else {
                let regex = compile(pattern)
                    .inspect_err(|error| tracing::warn!(pattern, error, "a stored expression matches nothing"))
                    .ok();
                let mut resolved = Resolved { regex, topics: BTreeSet::new() };
                resolved.resolve(topics);
                self.by_pattern.insert(pattern.to_owned(), resolved);
            }
        }
        self.version = Some(topics.version());
    }

    /// Whether the expression means this topic; one that was not resolved yet may.
    pub(super) fn may_mean(&self, pattern: &str, topic_id: TopicId) -> bool {
        self.by_pattern.get(pattern).is_none_or(|resolved| resolved.topics.contains(&topic_id))
    }

    /// The topics that there are of those that this member means.
    pub(super) fn topics_of(&self, member: &MemberMetadata, topics: &TopicsView) -> BTreeSet<TopicId> {
        let named = member.subscribed_topic_names.iter().filter_map(|name| topics.by_name(name));
        let mut all: BTreeSet<TopicId> = named.map(|topic| topic.topic_id).collect();
        if let Some(resolved) = member.regex().and_then(|pattern| self.by_pattern.get(pattern)) {
            all.extend(&resolved.topics);
        }
        all
    }
}

/// What each member of a group means, and with how many partitions.
pub(super) struct Subscriptions {
    pub(super) of_members: Vec<BTreeSet<TopicId>>,
    pub(super) topics: Topics,
}

impl Subscriptions {
    /// In the order of the members.
    pub(super) fn resolve<'a>(
        members: impl Iterator<Item = &'a MemberMetadata>,
        expressions: &Expressions,
        topics: &TopicsView,
    ) -> Self {
        let mut resolved = Self { of_members: Vec::new(), topics: BTreeMap::new() };
        let mut before: Option<&MemberMetadata> = None;
        for member in members {
            // Members mostly mean the same, and then the costly part is done once.
            let same = before.is_some_and(|before| before.has_subscription_of(member));
            let own = match resolved.of_members.last() {
                Some(last) if same => last.clone(),
                _ => expressions.topics_of(member, topics),
            };
            if !same {
                let known = own.iter().filter_map(|topic_id| topics.by_id(*topic_id));
                resolved.topics.extend(known.map(|topic| (topic.topic_id, topic.partition_count)));
            }
            resolved.of_members.push(own);
            before = Some(member);
        }
        resolved
    }

    /// Tells two sets of topics and partitions apart (FNV-1a); stored with the group, so it must not change.
    pub(super) fn metadata_hash(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for (topic_id, partitions) in &self.topics {
            for byte in topic_id.0.as_bytes().iter().chain(&partitions.to_be_bytes()) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_matches_whole_names() {
        let regex = compile("a|bc").unwrap();
        assert!(regex.is_match("a") && regex.is_match("bc"));
        assert!(!regex.is_match("ab") && !regex.is_match("xbc") && !regex.is_match("a\n"));
        assert!(compile("(?i)foo.*").unwrap().is_match("FOO-1"));
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for pattern in ["(", "a)(b", "a)|(?:b", "*", "[", r"\1", "(?=a)", "(?x)a #"] {
            assert!(compile(pattern).is_err(), "{pattern}");
        }
        assert!(compile(&"a".repeat(REGEX_BYTES_MAX + 1)).is_err());
        assert!(compile("((a{100}){100}){100}").is_err(), "too large when compiled");
    }
}
