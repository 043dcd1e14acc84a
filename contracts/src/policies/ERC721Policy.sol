// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {LogView, Policy, Reader} from "./Policy.sol";

/// @title What is asked of a token
/// @dev OpenZeppelin's IERC721, as far as it is needed.
interface IOwned {
    /// @notice The owner of a token; reverts if there is none.
    /// @param tokenId The token.
    /// @return Its owner.
    function ownerOf(uint256 tokenId) external view returns (address);
}

/// @title Tokens of which only their owners know
/// @notice Everybody learns name and symbol. Who owns a token, its URI and who may move it is told to its
/// owner; balances and operators to those whom they concern.
contract ERC721Policy is Policy {
    /// @param target_ The contract that this answers for.
    constructor(address target_) Policy(target_) {}

    function _log(Reader calldata reader, LogView calldata log) internal pure override returns (bool) {
        return _named(reader, log);
    }

    function _call(Reader calldata reader, address caller, bytes calldata callData)
        internal
        view
        override
        returns (bool)
    {
        if (callData.length < 4) return false;
        bytes4 selector = bytes4(callData);
        if (selector == 0x6352211e || selector == 0xc87b56dd || selector == 0x081812fc) {
            // ownerOf, tokenURI, getApproved
            try IOwned(target).ownerOf(abi.decode(callData[4:], (uint256))) returns (address owner) {
                return _concerns(reader, caller, owner);
            } catch {
                return false;
            }
        }
        if (selector == 0x70a08231) {
            // balanceOf(address)
            return _concerns(reader, caller, abi.decode(callData[4:], (address)));
        }
        if (selector == 0xe985e9c5) {
            // isApprovedForAll(address,address)
            (address owner, address operator) = abi.decode(callData[4:], (address, address));
            return _concerns(reader, caller, owner) || _concerns(reader, caller, operator);
        }
        return selector == 0x06fdde03 // name()
            || selector == 0x95d89b41 // symbol()
            || selector == 0x01ffc9a7 // supportsInterface(bytes4)
            || selector == 0x095ea7b3 // approve(address,uint256)
            || selector == 0xa22cb465 // setApprovalForAll(address,bool)
            || selector == 0x23b872dd // transferFrom(address,address,uint256)
            || selector == 0x42842e0e // safeTransferFrom(address,address,uint256)
            || selector == 0xb88d4fde; // safeTransferFrom(address,address,uint256,bytes)
    }
}
