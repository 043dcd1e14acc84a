// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {ERC1155} from "@openzeppelin/contracts/token/ERC1155/ERC1155.sol";
import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {ICocoAccess, LogView, Reader} from "../src/ICocoAccess.sol";
import {ERC20Policy} from "../src/policies/ERC20Policy.sol";
import {ERC721Policy} from "../src/policies/ERC721Policy.sol";
import {ERC1155Policy} from "../src/policies/ERC1155Policy.sol";
import {OwnablePolicy} from "../src/policies/OwnablePolicy.sol";
import {AccessControlPolicy} from "../src/policies/AccessControlPolicy.sol";
import {Policy} from "../src/policies/Policy.sol";

address constant ADA = address(0xada);
address constant EVE = address(0xe4e);
address constant SHOP = address(0x54);

/// OpenZeppelin's contracts as they are: they know nothing of policies.
contract Coin is ERC20("Coin", "C") {
    constructor() {
        _mint(ADA, 100);
    }
}

contract Deed is ERC721("Deed", "D") {
    constructor() {
        _mint(ADA, 7);
    }
}

contract Goods is ERC1155("uri") {}

contract Owned is Ownable(ADA) {
    function price() external pure returns (uint256) {
        return 42;
    }

    function order() external {}
}

contract Roles is AccessControl {
    bytes32 public constant READER = keccak256("READER");

    constructor() {
        _grantRole(READER, ADA);
    }
}

abstract contract Asks {
    function reader(address account) internal pure returns (Reader memory) {
        return Reader(account, bytes32(uint256(1)), 0);
    }

    function calls(Policy policy, address who, bytes memory data) internal view returns (bool) {
        return callsFrom(policy, who, who, data);
    }

    function callsFrom(Policy policy, address who, address caller, bytes memory data)
        internal
        view
        returns (bool)
    {
        try policy.canCall(reader(who), caller, data) returns (bytes4 answer) {
            return answer == ICocoAccess.canCall.selector;
        } catch {
            return false; // a revert is no
        }
    }

    function sees(Policy policy, address who, bytes32[] memory topics) internal view returns (bool) {
        LogView memory log = LogView(policy.target(), topics, "", ADA, 1);
        return policy.canReadLog(reader(who), log) == ICocoAccess.canReadLog.selector;
    }

    function transfer(address from, address to) internal pure returns (bytes32[] memory topics) {
        topics = new bytes32[](3);
        topics[0] = keccak256("Transfer(address,address,uint256)");
        (topics[1], topics[2]) = (word(from), word(to));
    }

    function word(address account) internal pure returns (bytes32) {
        return bytes32(uint256(uint160(account)));
    }

    function needs(bool fact, string memory what) internal pure {
        require(fact, what);
    }
}

contract InterfaceTest is Asks {
    function test_the_interface_has_the_id_that_nodes_know() public pure {
        bytes4 id = ICocoAccess.canReadLog.selector ^ ICocoAccess.canReadTransaction.selector
            ^ ICocoAccess.canCall.selector ^ ICocoAccess.canReadCode.selector;
        require(type(ICocoAccess).interfaceId == id, "id");
        require(ICocoAccess.canReadLog.selector == 0x83700ff9, "canReadLog");
        require(ICocoAccess.canReadTransaction.selector == 0x6bd5bfc2, "canReadTransaction");
        require(ICocoAccess.canCall.selector == 0xa412bf87, "canCall");
        require(ICocoAccess.canReadCode.selector == 0x7725bfdb, "canReadCode");
    }

    function test_policies_declare_it() public {
        Policy policy = new ERC20Policy(address(1));
        require(policy.supportsInterface(type(ICocoAccess).interfaceId), "declared");
        require(!policy.supportsInterface(0xffffffff), "not everything");
    }
}

contract ERC20PolicyTest is Asks {
    Policy private policy = new ERC20Policy(address(new Coin()));

    function test_balances_are_told_to_their_holders() public view {
        bytes memory ada = abi.encodeCall(ERC20.balanceOf, (ADA));
        needs(calls(policy, ADA, ada), "her own");
        needs(!calls(policy, EVE, ada), "another's");
        needs(!calls(policy, address(0), ada), "nobody");
        needs(!calls(policy, address(0), abi.encodeCall(ERC20.balanceOf, (address(0)))), "nobody's zero");
        // A helper contract must not read for a stranger, but may know of itself.
        needs(!callsFrom(policy, EVE, SHOP, ada), "through a helper");
        needs(callsFrom(policy, EVE, SHOP, abi.encodeCall(ERC20.balanceOf, (SHOP))), "the shop's own");
    }

    function test_allowances_are_told_to_both_sides() public view {
        bytes memory both = abi.encodeCall(ERC20.allowance, (ADA, SHOP));
        needs(calls(policy, ADA, both) && calls(policy, SHOP, both), "both");
        needs(!calls(policy, EVE, both), "no third");
    }

    function test_transfers_are_seen_by_sender_and_recipient() public view {
        bytes32[] memory log = transfer(ADA, SHOP);
        needs(sees(policy, ADA, log) && sees(policy, SHOP, log), "both");
        needs(!sees(policy, EVE, log), "no third");
        needs(!sees(policy, address(0), transfer(address(0), SHOP)), "a mint has no reader zero");
    }

    function test_everybody_may_pay_and_learn_the_name() public view {
        needs(calls(policy, EVE, abi.encodeCall(ERC20.transfer, (ADA, 1))), "pay");
        needs(calls(policy, EVE, abi.encodeCall(ERC20.name, ())), "name");
        needs(!calls(policy, EVE, hex"deadbeef") && !calls(policy, EVE, ""), "what is not known is denied");
        needs(!calls(policy, EVE, hex"70a08231"), "short data is denied");
    }
}

contract ERC721PolicyTest is Asks {
    Policy private policy = new ERC721Policy(address(new Deed()));

    function test_owners_alone_learn_who_owns() public view {
        bytes memory asked = abi.encodeCall(ERC721.ownerOf, (7));
        needs(calls(policy, ADA, asked) && !calls(policy, EVE, asked), "owner");
        needs(!calls(policy, ADA, abi.encodeCall(ERC721.ownerOf, (8))), "absent is as denied");
        bytes memory approved = abi.encodeCall(ERC721.isApprovedForAll, (ADA, SHOP));
        needs(calls(policy, SHOP, approved) && !calls(policy, EVE, approved), "operators");
        needs(sees(policy, ADA, transfer(address(0), ADA)) && !sees(policy, EVE, transfer(ADA, SHOP)), "logs");
        bytes memory moves = abi.encodeCall(ERC721.getApproved, (7));
        bytes memory held = abi.encodeCall(ERC721.balanceOf, (ADA));
        needs(calls(policy, ADA, moves) && !calls(policy, EVE, moves), "who may move it");
        needs(calls(policy, ADA, held) && !calls(policy, EVE, held), "how many");
        needs(calls(policy, EVE, abi.encodeCall(ERC721.transferFrom, (EVE, ADA, 8))), "everybody may send");
    }
}

contract ERC1155PolicyTest is Asks {
    Policy private policy = new ERC1155Policy(address(new Goods()));

    function test_a_batch_is_told_if_every_part_is_ones_own() public view {
        address[] memory accounts = new address[](2);
        (accounts[0], accounts[1]) = (ADA, ADA);
        uint256[] memory ids = new uint256[](2);
        needs(calls(policy, ADA, abi.encodeCall(ERC1155.balanceOfBatch, (accounts, ids))), "own");
        accounts[1] = SHOP;
        needs(!calls(policy, ADA, abi.encodeCall(ERC1155.balanceOfBatch, (accounts, ids))), "mixed");
        needs(!calls(policy, EVE, abi.encodeCall(ERC1155.balanceOf, (ADA, 1))), "another's");
    }

    function test_transfers_are_seen_by_operator_sender_and_recipient() public view {
        bytes32[] memory topics = new bytes32[](4);
        topics[0] = keccak256("TransferSingle(address,address,address,uint256,uint256)");
        (topics[1], topics[2], topics[3]) = (word(address(0x09)), word(ADA), word(SHOP));
        needs(sees(policy, address(0x09), topics) && sees(policy, ADA, topics) && sees(policy, SHOP, topics), "all");
        needs(!sees(policy, EVE, topics), "no fourth");
        bytes memory approved = abi.encodeCall(ERC1155.isApprovedForAll, (ADA, SHOP));
        needs(calls(policy, ADA, approved) && calls(policy, SHOP, approved) && !calls(policy, EVE, approved), "both");
    }
}

contract OwnablePolicyTest is Asks {
    function test_the_owner_reads_and_others_call_what_is_open() public {
        bytes4[] memory open = new bytes4[](1);
        open[0] = Owned.order.selector;
        Policy policy = new OwnablePolicy(address(new Owned()), open);
        bytes memory price = abi.encodeCall(Owned.price, ());
        needs(calls(policy, ADA, price) && !calls(policy, EVE, price), "price");
        needs(calls(policy, EVE, abi.encodeCall(Owned.order, ())), "order");
        needs(policy.canReadCode(reader(EVE)) == 0, "code");
        needs(policy.canReadTransaction(reader(EVE), EVE, 0, 1) != 0, "one's own transaction");
        needs(policy.canReadTransaction(reader(EVE), ADA, 0, 1) == 0, "another's");
    }
}

contract AccessControlPolicyTest is Asks {
    function test_holders_of_the_role_read() public {
        Roles roles = new Roles();
        Policy policy = new AccessControlPolicy(address(roles), roles.READER(), new bytes4[](0));
        bytes memory asked = abi.encodeCall(roles.hasRole, (roles.READER(), ADA));
        needs(calls(policy, ADA, asked) && !calls(policy, EVE, asked), "role");
        needs(sees(policy, ADA, transfer(EVE, SHOP)) && !sees(policy, EVE, transfer(EVE, SHOP)), "logs");
    }
}
