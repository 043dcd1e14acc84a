// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {LogView, Policy, Reader} from "./Policy.sol";

/// @title Many tokens whose balances are their holders' business
contract ERC1155Policy is Policy {
    /// @param target_ The contract that this answers for.
    constructor(address target_) Policy(target_) {}

    /// @dev TransferSingle, TransferBatch and ApprovalForAll name operator, sender and recipient in topics.
    function _log(Reader calldata reader, LogView calldata log) internal pure override returns (bool) {
        return _named(reader, log);
    }

    function _call(Reader calldata reader, address caller, bytes calldata callData)
        internal
        pure
        override
        returns (bool)
    {
        if (callData.length < 4) return false;
        bytes4 selector = bytes4(callData);
        if (selector == 0x00fdd58e) {
            // balanceOf(address,uint256)
            (address account,) = abi.decode(callData[4:], (address, uint256));
            return _concerns(reader, caller, account);
        }
        if (selector == 0x4e1273f4) {
            // balanceOfBatch(address[],uint256[])
            (address[] memory accounts,) = abi.decode(callData[4:], (address[], uint256[]));
            for (uint256 i = 0; i < accounts.length; i++) {
                if (!_concerns(reader, caller, accounts[i])) return false;
            }
            return true;
        }
        if (selector == 0xe985e9c5) {
            // isApprovedForAll(address,address)
            (address owner, address operator) = abi.decode(callData[4:], (address, address));
            return _concerns(reader, caller, owner) || _concerns(reader, caller, operator);
        }
        return selector == 0x01ffc9a7 // supportsInterface(bytes4)
            || selector == 0xa22cb465 // setApprovalForAll(address,bool)
            || selector == 0xf242432a // safeTransferFrom(address,address,uint256,uint256,bytes)
            || selector == 0x2eb2c2d6; // safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)
    }
}
