// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {Token} from "../../../contracts/Token.sol";

/// What a script asks forge to do.
interface Vm {
    function startBroadcast() external;
    function stopBroadcast() external;
}

contract Deploy {
    Vm private constant VM = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    /// A second token, and a transfer of 41. `seen` is what the fork, which reads code and storage, holds of the first.
    function run(Token first, uint256 seen) external {
        require(first.balanceOf(msg.sender) == seen, "the fork holds something else");
        VM.startBroadcast();
        Token second = new Token(1000);
        second.transfer(address(0xfe), 41);
        VM.stopBroadcast();
    }

    function refused(Token first) external {
        VM.startBroadcast();
        first.refuse();
        VM.stopBroadcast();
    }

    /// What somebody else's token says of a balance.
    function look(address other, address holder) external view returns (bytes memory told) {
        (, told) = other.staticcall(abi.encodeCall(Token(other).balanceOf, (holder)));
    }
}
