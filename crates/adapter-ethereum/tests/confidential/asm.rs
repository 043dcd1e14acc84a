//! Contracts for the tests, in assembly: `:name` marks a jump target, `@name` pushes it, a number is
//! pushed, and `%name` is replaced before.

use std::collections::BTreeMap;

/// Bytecode of a text.
pub fn assemble(text: &str) -> Vec<u8> {
    let mut code = Vec::new();
    let mut labels = BTreeMap::new();
    let mut uses = Vec::new();
    let lines = text
        .lines()
        .map(|line| line.split(';').next().unwrap_or(""));
    for word in lines.flat_map(str::split_whitespace) {
        if let Some(name) = word.strip_prefix(':') {
            labels.insert(name.to_owned(), code.len());
            code.push(0x5b);
        } else if let Some(name) = word.strip_prefix('@') {
            uses.push((code.len() + 1, name.to_owned()));
            code.extend([0x61, 0, 0]);
        } else if let Some(digits) = word.strip_prefix("0x") {
            push(&mut code, &hex::decode(digits).expect("whole bytes"));
        } else if let Ok(number) = word.parse::<u8>() {
            push(&mut code, &[number]);
        } else {
            code.push(opcode(word));
        }
    }
    for (at, name) in uses {
        let place = *labels
            .get(&name)
            .unwrap_or_else(|| panic!("no label {name}"));
        let place = u16::try_from(place).expect("a short program");
        code[at..at + 2].copy_from_slice(&place.to_be_bytes());
    }
    code
}

fn push(code: &mut Vec<u8>, bytes: &[u8]) {
    code.push(0x5f + u8::try_from(bytes.len()).expect("at most 32"));
    code.extend(bytes);
}

fn opcode(word: &str) -> u8 {
    let known = [
        ("STOP", 0x00),
        ("ADD", 0x01),
        ("LT", 0x10),
        ("EQ", 0x14),
        ("ISZERO", 0x15),
        ("AND", 0x16),
        ("OR", 0x17),
        ("SHL", 0x1b),
        ("SHR", 0x1c),
        ("ADDRESS", 0x30),
        ("BALANCE", 0x31),
        ("CALLER", 0x33),
        ("CALLDATALOAD", 0x35),
        ("CALLDATASIZE", 0x36),
        ("CALLDATACOPY", 0x37),
        ("CODESIZE", 0x38),
        ("CODECOPY", 0x39),
        ("EXTCODESIZE", 0x3b),
        ("EXTCODECOPY", 0x3c),
        ("RETURNDATASIZE", 0x3d),
        ("RETURNDATACOPY", 0x3e),
        ("EXTCODEHASH", 0x3f),
        ("POP", 0x50),
        ("MLOAD", 0x51),
        ("MSTORE", 0x52),
        ("SLOAD", 0x54),
        ("SSTORE", 0x55),
        ("JUMP", 0x56),
        ("JUMPI", 0x57),
        ("GAS", 0x5a),
        ("DUP1", 0x80),
        ("DUP2", 0x81),
        ("SWAP1", 0x90),
        ("LOG0", 0xa0),
        ("LOG1", 0xa1),
        ("LOG2", 0xa2),
        ("LOG3", 0xa3),
        ("CREATE", 0xf0),
        ("CALL", 0xf1),
        ("RETURN", 0xf3),
        ("DELEGATECALL", 0xf4),
        ("CREATE2", 0xf5),
        ("STATICCALL", 0xfa),
        ("REVERT", 0xfd),
        ("SELFDESTRUCT", 0xff),
    ];
    let found = known.iter().find(|(name, _)| *name == word);
    found.unwrap_or_else(|| panic!("no opcode {word}")).1
}

/// Init code that runs `first` and returns `runtime`.
pub fn deploying(first: &str, runtime: &[u8]) -> Vec<u8> {
    let mut init = assemble(first);
    let length = u16::try_from(runtime.len()).expect("short").to_be_bytes();
    // Two pushes of two bytes, DUP1-free: the head has a fixed size.
    let place = u16::try_from(init.len() + 15).expect("short").to_be_bytes();
    init.extend([0x61, length[0], length[1], 0x61, place[0], place[1]]);
    init.extend([0x60, 0, 0x39, 0x61, length[0], length[1], 0x60, 0, 0xf3]);
    init.extend(runtime);
    init
}

const CHECKS: [&str; 4] = ["0x83700ff9", "0x6bd5bfc2", "0xa412bf87", "0x7725bfdb"];

/// ERC-165's id of `ICocoAccess`.
pub fn access_id() -> String {
    let id = CHECKS
        .iter()
        .map(|selector| u32::from_str_radix(&selector[2..], 16).expect("hexadecimal"))
        .fold(0, |all, one| all ^ one);
    format!("0x{id:08x}")
}

/// The beginning of a contract that declares `ICocoAccess`; `checks` decides with the selector on the
/// stack, and jumps to `yes` or reverts.
fn declaring(functions: &str, checks: &str) -> String {
    let asked: String = CHECKS
        .iter()
        .map(|selector| format!("DUP1 {selector} EQ @check JUMPI\n"))
        .collect();
    let id = access_id();
    format!(
        "0 CALLDATALOAD 0xe0 SHR
         DUP1 0x01ffc9a7 EQ @supports JUMPI
         {asked}
         {functions}
         0 0 REVERT
         :supports 4 CALLDATALOAD 0xe0 SHR DUP1 0x01ffc9a7 EQ SWAP1 {id} EQ OR
         0 MSTORE 32 0 RETURN
         :yes 0xe0 SHL 0 MSTORE 32 0 RETURN
         :check {checks}"
    )
}

/// Slot 0: owner. Slot 1: a secret. `get()`, `set(uint256)` which logs the value. Only the owner reads
/// or calls anything.
pub fn vault() -> Vec<u8> {
    let functions = "DUP1 0x6d4ce63c EQ @get JUMPI
         DUP1 0x60fe47b1 EQ @set JUMPI
         DUP1 0x13af4035 EQ @own JUMPI";
    let checks = "4 CALLDATALOAD 0 SLOAD EQ @yes JUMPI 0 0 REVERT
         :get 1 SLOAD 0 MSTORE 32 0 RETURN
         :set 4 CALLDATALOAD DUP1 1 SSTORE 0 MSTORE 0x7777 32 0 LOG1 STOP
         :own 4 CALLDATALOAD 0 SSTORE STOP";
    assemble(&declaring(functions, checks))
}

/// Slot 0: owner. Slot 1: a secret. Anybody calls it, and only the owner reads its logs, whose topic is
/// the secret; nobody reads its code. `set(uint256)` is for the owner.
pub fn bell() -> Vec<u8> {
    let functions = "DUP1 0x60fe47b1 EQ @set JUMPI
         DUP1 0xc3f909d4 EQ @ring JUMPI";
    let checks = "DUP1 0xa412bf87 EQ @yes JUMPI
         4 CALLDATALOAD 0 SLOAD EQ @yes JUMPI 0 0 REVERT
         :set CALLER 0 SLOAD EQ @mine JUMPI 0 0 REVERT
         :mine 4 CALLDATALOAD 1 SSTORE STOP
         :ring 1 SLOAD 0 0 LOG1 STOP";
    assemble(&declaring(functions, checks))
}

/// No check: calls the address in its first word with four bytes from the second, logs what it got as a
/// word, and returns it.
pub fn helper() -> Vec<u8> {
    assemble(
        "32 CALLDATALOAD 0 MSTORE
         32 64 4 0 0 0 CALLDATALOAD GAS CALL POP
         0x9999 32 64 LOG1
         32 64 RETURN",
    )
}

/// No check, and answers 1 to everything.
pub fn yes_man() -> Vec<u8> {
    assemble("1 0 MSTORE 32 0 RETURN")
}

/// No check: keeps a number. `get()`, `set(uint256)`, which logs it.
pub fn store() -> Vec<u8> {
    assemble(
        "0 CALLDATALOAD 0xe0 SHR
         DUP1 0x6d4ce63c EQ @get JUMPI
         DUP1 0x60fe47b1 EQ @set JUMPI
         0 0 REVERT
         :get 1 SLOAD 0 MSTORE 32 0 RETURN
         :set 4 CALLDATALOAD DUP1 1 SSTORE 0 MSTORE 0x8888 32 0 LOG1 STOP",
    )
}

/// No check: creates what its data says, always with the same salt, and logs the address.
pub fn factory() -> Vec<u8> {
    assemble(
        "CALLDATASIZE 0 0 CALLDATACOPY 5 CALLDATASIZE 0 0 CREATE2 0 MSTORE 0x11 32 0 LOG1 STOP",
    )
}

/// A call's data: selector and words.
pub fn data(selector: u32, words: &[[u8; 32]]) -> Vec<u8> {
    let mut out = selector.to_be_bytes().to_vec();
    words.iter().for_each(|word| out.extend(word));
    out
}
