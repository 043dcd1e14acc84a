// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ICocoAccess, LogView, Reader} from "../src/ICocoAccess.sol";
import {ERC20Policy} from "../src/policies/ERC20Policy.sol";
import {ERC721Policy} from "../src/policies/ERC721Policy.sol";
import {ERC1155Policy} from "../src/policies/ERC1155Policy.sol";
import {OwnablePolicy} from "../src/policies/OwnablePolicy.sol";
import {AccessControlPolicy} from "../src/policies/AccessControlPolicy.sol";
import {Policy} from "../src/policies/Policy.sol";
import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC1155} from "@openzeppelin/contracts/token/ERC1155/ERC1155.sol";
import {ADA, Asks, Coin, Deed, EVE, Goods, Owned, Roles} from "./Policies.t.sol";

// What nodes give a check, and what they take for yes: the rule of ICocoAccess, once more in Solidity.
uint256 constant CHECK_GAS = 100_000;

function says(address asked, bytes memory question) view returns (bool) {
    (bool done, bytes memory answer) = asked.staticcall{gas: CHECK_GAS}(question);
    return done && answer.length == 32 && bytes32(answer) == bytes32(bytes4(question));
}

/// Answers the same to whatever it is asked.
contract Answers {
    bytes private answer;
    bool private reverts;

    constructor(bytes memory answer_, bool reverts_) {
        answer = answer_;
        reverts = reverts_;
    }

    fallback(bytes calldata) external returns (bytes memory) {
        if (reverts) {
            bytes memory with = answer;
            assembly {
                revert(add(with, 32), mload(with))
            }
        }
        return answer;
    }
}

/// Never ends.
contract Burns {
    fallback() external {
        for (uint256 i = 0;; i++) {
            assembly {
                mstore(0, i)
            }
        }
    }
}

contract HostileChecksTest is Asks {
    function questions() private pure returns (bytes[] memory all) {
        Reader memory eve = reader(EVE);
        LogView memory log = LogView(ADA, new bytes32[](0), "", ADA, 1);
        all = new bytes[](4);
        all[0] = abi.encodeCall(ICocoAccess.canReadLog, (eve, log));
        all[1] = abi.encodeCall(ICocoAccess.canReadTransaction, (eve, ADA, 0xa9059cbb, 1));
        all[2] = abi.encodeCall(ICocoAccess.canCall, (eve, EVE, hex"70a08231"));
        all[3] = abi.encodeCall(ICocoAccess.canReadCode, (eve));
    }

    /// Denied, whichever of the four is asked.
    function denies(address check, string memory what) private view {
        bytes[] memory all = questions();
        for (uint256 i = 0; i < all.length; i++) {
            needs(!says(check, all[i]), what);
        }
    }

    function test_a_permissive_fallback_allows_nothing() public {
        denies(address(new Answers(abi.encode(true), false)), "one");
        denies(address(new Answers(abi.encode(type(uint256).max), false)), "all bits");
        denies(address(new Answers("", false)), "nothing");
    }

    function test_an_answer_of_another_length_or_with_more_in_it_is_no() public {
        bytes4 yes = ICocoAccess.canReadCode.selector;
        bytes memory question = questions()[3];
        needs(says(address(new Answers(abi.encode(yes), false)), question), "the rule knows yes");
        needs(!says(address(new Answers(abi.encodePacked(yes), false)), question), "four bytes");
        needs(!says(address(new Answers(abi.encodePacked(yes, bytes27(0)), false)), question), "31 bytes");
        needs(!says(address(new Answers(abi.encode(yes, yes), false)), question), "two words");
        needs(!says(address(new Answers(abi.encodePacked(yes, bytes28(uint224(1))), false)), question), "dirt");
        // One function's yes is not another's.
        needs(!says(address(new Answers(abi.encode(yes), false)), questions()[0]), "another's selector");
    }

    function test_a_revert_is_no_whatever_it_says() public {
        bytes4[4] memory selectors = [
            ICocoAccess.canReadLog.selector,
            ICocoAccess.canReadTransaction.selector,
            ICocoAccess.canCall.selector,
            ICocoAccess.canReadCode.selector
        ];
        for (uint256 i = 0; i < selectors.length; i++) {
            denies(address(new Answers(abi.encode(selectors[i]), true)), "revert");
        }
    }

    function test_running_out_of_gas_is_no() public {
        denies(address(new Burns()), "gas");
    }

    function test_no_contract_at_all_is_no() public view {
        denies(address(0x1234), "empty");
    }
}

/// Contracts that do not behave as the policies in front of them expect.
contract HostileTargetsTest is Asks {
    bytes4[] private none;

    function targets() private returns (address[] memory all) {
        all = new address[](6);
        all[0] = address(new Answers(abi.encode(true), false));
        all[1] = address(new Answers(abi.encode(type(uint256).max), false));
        all[2] = address(new Answers("", false));
        all[3] = address(new Answers(abi.encode(ADA), true));
        all[4] = address(new Burns());
        all[5] = address(0x1234);
    }

    function asked(Policy policy, bytes memory data) private view returns (bool) {
        return says(address(policy), abi.encodeCall(ICocoAccess.canCall, (reader(EVE), EVE, data)));
    }

    function test_an_owner_that_cannot_be_told_is_nobody() public {
        address[] memory all = targets();
        for (uint256 i = 0; i < all.length; i++) {
            Policy policy = new OwnablePolicy(all[i], none);
            needs(!asked(policy, abi.encodeCall(Owned.price, ())), "call");
            needs(!says(address(policy), abi.encodeCall(ICocoAccess.canReadCode, (reader(EVE)))), "code");
            needs(!says(address(policy), abi.encodeCall(ICocoAccess.canReadTransaction, (reader(EVE), ADA, 0, 1))), "tx");
            // One's own transactions are one's own whatever the target does.
            needs(says(address(policy), abi.encodeCall(ICocoAccess.canReadTransaction, (reader(EVE), EVE, 0, 1))), "own");
        }
    }

    function test_a_token_whose_owner_cannot_be_told_is_nobodys() public {
        address[] memory all = targets();
        for (uint256 i = 0; i < all.length; i++) {
            Policy policy = new ERC721Policy(all[i]);
            needs(!asked(policy, abi.encodeCall(ERC721.ownerOf, (7))), "owner");
            needs(asked(policy, abi.encodeCall(ERC721.name, ())), "the policy itself goes on");
        }
    }

    function test_a_contract_without_roles_gets_no_policy_of_roles() public {
        // A fallback that answers `true` would make everybody a holder of every role.
        address[] memory all = targets();
        for (uint256 i = 0; i < all.length; i++) {
            try new AccessControlPolicy{salt: bytes32(i)}(all[i], 0, none) returns (AccessControlPolicy) {
                revert("taken");
            } catch {}
        }
        new AccessControlPolicy(address(new Roles()), 0, none);
    }
}

/// Call data that is cut, padded, dirty or huge: no policy answers yes to it, and none needs too much gas.
contract HostileDataTest is Asks {
    function policies() private returns (Policy[] memory all) {
        bytes4[] memory none;
        all = new Policy[](5);
        all[0] = new ERC20Policy(address(new Coin()));
        all[1] = new ERC721Policy(address(new Deed()));
        all[2] = new ERC1155Policy(address(new Goods()));
        all[3] = new OwnablePolicy(address(new Owned()), none);
        all[4] = new AccessControlPolicy(address(new Roles()), keccak256("READER"), none);
    }

    function asked(Policy policy, address who, bytes memory data) private view returns (bool) {
        return says(address(policy), abi.encodeCall(ICocoAccess.canCall, (reader(who), who, data)));
    }

    function testFuzz_what_is_not_known_is_denied(bytes4 selector, bytes calldata rest) public {
        // Names, supply and what one may send: functions that everybody may call.
        bytes4[15] memory open = [
            bytes4(0x06fdde03), 0x95d89b41, 0x313ce567, 0x18160ddd, 0xa9059cbb, 0x095ea7b3, 0x23b872dd, 0x01ffc9a7,
            0xa22cb465, 0x42842e0e, 0xb88d4fde, 0xf242432a, 0x2eb2c2d6, 0xffffffff, 0
        ];
        for (uint256 i = 0; i < 13; i++) {
            if (selector == open[i]) return;
        }
        Policy[] memory all = policies();
        for (uint256 i = 0; i < all.length; i++) {
            // Random bytes name Eve's account with no chance worth counting.
            needs(!asked(all[i], EVE, abi.encodePacked(selector, rest)), "allowed");
        }
    }

    function test_cut_and_dirty_arguments_are_denied() public {
        Policy[] memory all = policies();
        bytes4[8] memory known = [
            bytes4(0x70a08231), 0xdd62ed3e, 0x6352211e, 0xc87b56dd, 0x081812fc, 0xe985e9c5, 0x00fdd58e, 0x4e1273f4
        ];
        for (uint256 i = 0; i < 3; i++) {
            for (uint256 k = 0; k < known.length; k++) {
                needs(!asked(all[i], EVE, abi.encodePacked(known[k])), "no arguments");
                needs(!asked(all[i], EVE, abi.encodePacked(known[k], bytes31(uint248(uint160(EVE))))), "31 bytes");
                bytes memory dirty = abi.encodePacked(known[k], bytes12(hex"01"), EVE, bytes12(hex"01"), EVE);
                needs(!asked(all[i], EVE, dirty), "more than an address");
            }
            needs(!asked(all[i], EVE, hex"70a082") && !asked(all[i], EVE, ""), "less than a selector");
        }
    }

    function test_a_batch_too_long_to_be_looked_at_is_denied() public {
        Policy policy = policies()[2];
        address[] memory accounts = new address[](5000);
        for (uint256 i = 0; i < accounts.length; i++) {
            accounts[i] = EVE;
        }
        bytes memory data = abi.encodeCall(ERC1155.balanceOfBatch, (accounts, new uint256[](5000)));
        needs(!asked(policy, EVE, data), "it runs out of gas");
        address[] memory few = new address[](20);
        for (uint256 i = 0; i < few.length; i++) {
            few[i] = EVE;
        }
        needs(asked(policy, EVE, abi.encodeCall(ERC1155.balanceOfBatch, (few, new uint256[](20)))), "a usual one");
        // A length that is not there.
        bytes memory huge = abi.encodePacked(bytes4(0x4e1273f4), uint256(64), uint256(96), type(uint256).max, uint256(0));
        needs(!asked(policy, EVE, huge), "a length beyond the data");
    }

    function test_a_topic_that_is_more_than_an_address_names_nobody() public {
        Policy[] memory all = policies();
        bytes32[] memory topics = transfer(ADA, EVE);
        topics[2] = bytes32(uint256(topics[2]) | (1 << 160));
        for (uint256 i = 0; i < all.length; i++) {
            LogView memory log = LogView(all[i].target(), topics, "", ADA, 1);
            needs(!says(address(all[i]), abi.encodeCall(ICocoAccess.canReadLog, (reader(EVE), log))), "dirty topic");
        }
    }

    function test_a_session_without_an_account_reads_what_everybody_does() public {
        Policy[] memory all = policies();
        bytes32[] memory topics = transfer(address(0), address(0));
        for (uint256 i = 0; i < all.length; i++) {
            LogView memory log = LogView(all[i].target(), topics, "", address(0), 1);
            needs(!says(address(all[i]), abi.encodeCall(ICocoAccess.canReadLog, (reader(address(0)), log))), "log");
            bytes memory sent = abi.encodeCall(ICocoAccess.canReadTransaction, (reader(address(0)), address(0), 0, 1));
            needs(!says(address(all[i]), sent), "transaction");
            bytes memory zero = abi.encodeWithSelector(0x70a08231, address(0));
            needs(!asked(all[i], address(0), zero), "balance of zero");
        }
    }

    function test_usual_questions_leave_most_of_the_gas() public {
        Policy[] memory all = policies();
        bytes[5] memory usual = [
            abi.encodeCall(ERC20.balanceOf, (ADA)),
            abi.encodeCall(ERC721.ownerOf, (7)),
            abi.encodeCall(ERC1155.balanceOf, (ADA, 1)),
            abi.encodeCall(Owned.price, ()),
            abi.encodeWithSelector(0x91d14854, bytes32(0), ADA)
        ];
        for (uint256 i = 0; i < all.length; i++) {
            uint256 before = gasleft();
            needs(asked(all[i], ADA, usual[i]), "allowed");
            needs(before - gasleft() < CHECK_GAS / 4, "gas");
        }
    }
}
