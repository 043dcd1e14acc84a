use super::*;

const SEGMENT: usize = 512;

fn id(n: u64) -> UnitId {
    // As spread as a digest.
    let word = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut id = [0; 32];
    id[..8].copy_from_slice(&word.to_be_bytes());
    id[24..].copy_from_slice(&n.to_be_bytes());
    UnitId(id)
}

/// A catalogue of batches of four units, and the parts that its batches carry, by height.
fn filled(batches: u64) -> (Catalogue, Vec<(Height, Part)>) {
    let mut catalogue = Catalogue::new(SEGMENT);
    let mut parts = Vec::new();
    for height in 1..=batches {
        let units: Vec<UnitId> = (0..4).map(|n| id(4 * height + n)).collect();
        let name = (height % 3 == 0).then(|| types::Digest(id(1_000_000 + height).0));
        let note = vec![height as u8; height as usize % 7].into();
        let part = catalogue.due(catalogue.next_part());
        if let Some(part) = &part {
            assert!(catalogue.is_next(part));
        }
        catalogue.file(&Filed { name, note }, units.iter(), part.as_ref());
        parts.extend(part.map(|part| (Height(height), part)));
    }
    (catalogue, parts)
}

/// Looks up as an exchange does, reading what it is told to.
fn sought<T>(
    catalogue: &mut Catalogue,
    parts: &[(Height, Part)],
    recent: Option<T>,
    older: impl Fn(&Catalogue, &mut Sought) -> Result<Option<T>, Height>,
) -> Option<T> {
    let mut sought = Sought::default();
    while recent.is_none() {
        match older(catalogue, &mut sought) {
            Ok(found) => return found,
            Err(height) => read(catalogue, parts, height),
        }
    }
    recent
}

fn unit(catalogue: &mut Catalogue, parts: &[(Height, Part)], id: &UnitId) -> Option<(Height, u32)> {
    let recent = catalogue.recent(id);
    sought(catalogue, parts, recent, |catalogue, sought| {
        catalogue.older_unit(id, sought)
    })
}

fn named(catalogue: &mut Catalogue, parts: &[(Height, Part)], name: &[u8; 32]) -> Option<Height> {
    let recent = catalogue.recent_named(name);
    sought(catalogue, parts, recent, |catalogue, sought| {
        catalogue.older_named(name, sought)
    })
}

fn read(catalogue: &mut Catalogue, parts: &[(Height, Part)], height: Height) {
    let (_, part) = parts
        .iter()
        .find(|(at, _)| *at == height)
        .expect("only batches that carry a part are asked for");
    assert!(catalogue.read(height, Some(part.clone())));
}

#[test]
fn every_unit_name_and_note_is_found_and_no_other() {
    let batches = 2_000;
    let (mut catalogue, parts) = filled(batches);
    assert_eq!(catalogue.batches() as u64, batches);
    assert!(catalogue.tags() <= 3 * SEGMENT, "the others left memory");
    assert_eq!(catalogue.parts(), parts.len());
    for height in 1..=batches {
        for position in 0..4u32 {
            let asked = id(4 * height + u64::from(position));
            assert!(catalogue.may_have(&asked));
            let found = unit(&mut catalogue, &parts, &asked);
            assert_eq!(found, Some((Height(height), position)));
            let none = named(&mut catalogue, &parts, &asked.0);
            assert_eq!(none, None, "a unit is no batch");
        }
        let name = id(1_000_000 + height).0;
        let expected = (height % 3 == 0).then_some(Height(height));
        assert_eq!(named(&mut catalogue, &parts, &name), expected);
        assert_eq!(unit(&mut catalogue, &parts, &UnitId(name)), None);
        let note = vec![height as u8; height as usize % 7];
        assert_eq!(catalogue.note(Height(height)), Some(&note[..]));
    }
    assert_eq!(unit(&mut catalogue, &parts, &id(77_777_777)), None);
    assert_eq!(catalogue.note(Height(0)), None);
    assert_eq!(catalogue.note(Height(batches + 1)), None);
}

#[test]
fn what_is_not_there_is_known_without_reading() {
    let (catalogue, _) = filled(2_000);
    let asks = |n: &u64| {
        let mut sought = Sought::default();
        catalogue.older_unit(&id(*n), &mut sought).is_err()
    };
    // 1 of 128 in each of some 17 segments.
    let asked = (2_000_000..2_001_000).filter(asks).count();
    assert!(asked < 200, "{asked} of 1,000 lookups read the ledger");
}

#[test]
fn a_segment_that_is_being_written_down_stays() {
    let (mut catalogue, _) = filled(400);
    let first = catalogue.first_place();
    catalogue.freeze();
    for height in 401..=1_000 {
        let units: Vec<UnitId> = (0..4).map(|n| id(4 * height + n)).collect();
        let part = catalogue.due(catalogue.next_part());
        catalogue.file(&Filed::default(), units.iter(), part.as_ref());
    }
    assert_eq!(catalogue.first_place(), first);
    let word = tag(&id(4 * 400).0);
    let place = catalogue.batch(399).expect("it is there").first + 1;
    assert_eq!(catalogue.tag_at(place), word);
    catalogue.thaw();
    assert!(catalogue.first_place() > first);
}

#[test]
fn a_part_that_is_not_the_next_one_is_told_from_it() {
    let (catalogue, parts) = filled(2_000);
    let (_, before) = parts.last().expect("there are some");
    assert!(!catalogue.is_next(before));
    let next = catalogue.part(catalogue.next_part());
    let next = next.expect("its segment is full");
    assert!(catalogue.is_next(&next));
    let mut changed = next.bytes().to_vec();
    *changed.last_mut().expect("it has tags") ^= 1;
    let changed = Part::decode(changed.into()).expect("well-formed");
    assert!(!catalogue.is_next(&changed));
}

#[test]
fn a_batch_without_the_part_that_it_should_carry_is_not_asked_for_forever() {
    let (mut catalogue, parts) = filled(2_000);
    let (height, part) = &parts[3];
    assert!(!catalogue.read(*height, None));
    assert!(!catalogue.read(*height, Some(parts[4].1.clone())));
    assert!(!catalogue.read(Height(1), Some(part.clone())));
    assert!(catalogue.read(Height(1), None));
    assert!(catalogue.read(*height, Some(part.clone())));
}

#[test]
fn a_unit_whose_tag_comes_again_is_the_first() {
    let mut catalogue = Catalogue::new(SEGMENT);
    for _ in 0..3 {
        catalogue.file(&Filed::default(), [id(1), id(2)].iter(), None);
    }
    assert_eq!(catalogue.recent(&id(2)), Some((Height(1), 1)));
}
