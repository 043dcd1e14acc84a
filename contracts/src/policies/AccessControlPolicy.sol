// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ICocoAccess, LogView, Policy, Reader} from "./Policy.sol";

interface IRoles {
    function hasRole(bytes32 role, address account) external view returns (bool);
}

/// @title A contract that is open to those who hold a role in it
/// @notice Holders of `readerRole` (by the target's own AccessControl) read and call everything; others call
/// the functions that were named at the start, and see the transactions that they sent.
contract AccessControlPolicy is Policy {
    /// @notice The role that reads.
    bytes32 public immutable readerRole;

    /// @notice Functions that everybody may call.
    mapping(bytes4 selector => bool) public isOpen;

    constructor(address target_, bytes32 readerRole_, bytes4[] memory open) Policy(target_) {
        readerRole = readerRole_;
        for (uint256 i = 0; i < open.length; i++) {
            isOpen[open[i]] = true;
        }
    }

    /// @inheritdoc ICocoAccess
    function canReadTransaction(Reader calldata reader, address txSender, bytes4, uint64)
        external
        view
        override
        returns (bytes4)
    {
        bool may = _is(reader, txSender) || _holds(reader.account);
        return may ? ICocoAccess.canReadTransaction.selector : DENY;
    }

    function _log(Reader calldata reader, LogView calldata) internal view override returns (bool) {
        return _holds(reader.account);
    }

    function _call(Reader calldata reader, address, bytes calldata callData)
        internal
        view
        override
        returns (bool)
    {
        return _holds(reader.account) || (callData.length >= 4 && isOpen[bytes4(callData)]);
    }

    function _holds(address account) private view returns (bool) {
        return account != address(0) && IRoles(target).hasRole(readerRole, account);
    }
}
