//! What contracts get from the system contracts.

use alloy_primitives::keccak256;

use super::*;

#[test]
fn addresses_are_as_published() {
    assert_eq!(
        RANDOM.to_string().to_lowercase(),
        "0x00000000000000000000000000000000c0c00001"
    );
    assert!(ADDRESSES.iter().all(is_system));
    assert!(
        ![at(0), at(8), Address::ZERO, Address::repeat_byte(0xc0)]
            .iter()
            .any(is_system)
    );
}

#[test]
fn functions_and_events_are_named_as_solidity_does() {
    let source = [
        include_str!("random.rs"),
        include_str!("identity.rs"),
        include_str!("ledger.rs"),
        include_str!("policy.rs"),
        include_str!("logs.rs"),
        include_str!("padding.rs"),
        include_str!("external.rs"),
    ]
    .concat();
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    let mut found = 0;
    for pair in lines.windows(2) {
        let Some(signature) = pair[0]
            .strip_prefix("// ")
            .filter(|text| text.ends_with(')') && !text.contains(' '))
        else {
            continue;
        };
        let hash = keccak256(signature);
        let bytes = hash[..4]
            .iter()
            .map(|byte| format!("{byte:#04x}"))
            .collect::<Vec<_>>();
        let expected = format!("[{}]", bytes.join(", "));
        assert!(
            pair[1].contains(&expected),
            "{signature}: {} wants {expected}",
            pair[1]
        );
        found += 1;
    }
    assert_eq!(found, 23);
    assert_eq!(
        logs::ADDRESSED,
        keccak256("Addressed(address,address,bytes)")
    );
}
