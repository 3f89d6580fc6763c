//! The slots of a Redis Cluster, and the ranges that its indexes are split by.

use std::sync::LazyLock;

/// How many slots a cluster has.
pub(super) const SLOTS: u16 = 16_384;

/// How many ranges of slots have an index of their own. A master has long runs of slots, so
/// the index of a range is on the master of its rooms, except where a run ends within it.
pub(super) const RANGES: u16 = 256;

/// A hash tag in each range: the smallest number whose slot is there.
static TAGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut tags = vec![String::new(); RANGES.into()];
    let mut missing = tags.len();
    let mut number = 0_u32;
    while missing > 0 {
        let text = number.to_string();
        let tag = &mut tags[usize::from(range_of(slot_of(&text)))];
        if tag.is_empty() {
            *tag = text;
            missing -= 1;
        }
        number += 1;
    }
    tags
});

/// The range of a slot.
pub(super) fn range_of(slot: u16) -> u16 {
    slot / (SLOTS / RANGES)
}

/// The hash tags of all ranges, in order.
pub(super) fn tags() -> &'static [String] {
    &TAGS
}

/// The slot of a key, or of what stands in its first braces.
pub(super) fn slot_of(key: &str) -> u16 {
    let tag = key
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'))
        .map_or(key, |(tag, _)| if tag.is_empty() { key } else { tag });
    // CRC-16/XMODEM, bit by bit: a key is short, and a tag shorter.
    let crc = tag.bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            }
        })
    });
    crc % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        // As CLUSTER KEYSLOT of Redis 7.0.15 answers.
        assert_eq!(slot_of("foo"), 12_182);
        assert_eq!(slot_of("room:{bar}:messages"), 5_061);
        assert_eq!(slot_of("{foo}:{bar}"), slot_of("foo"));
        assert_eq!(slot_of("{}foo"), slot_of("{}foo"));
        assert_ne!(slot_of("{}foo"), slot_of(""));
    }

    #[test]
    fn each_range_has_a_tag_of_its_own_within_it() {
        assert_eq!((range_of(0), range_of(63), range_of(64)), (0, 0, 1));
        assert_eq!(range_of(SLOTS - 1), RANGES - 1);
        for (range, tag) in (0..).zip(tags()) {
            assert_eq!(range_of(slot_of(tag)), range, "{tag}");
        }
        assert_eq!(tags().len(), usize::from(RANGES));
        // They are names of keys: another number here would leave entries behind.
        assert_eq!([&tags()[0], &tags()[255]], ["460", "430"]);
    }
}
