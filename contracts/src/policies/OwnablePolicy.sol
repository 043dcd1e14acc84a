// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ICocoAccess, LogView, Policy, Reader} from "./Policy.sol";

/// @title What is asked of an owned contract
/// @dev OpenZeppelin's Ownable, as far as it is needed.
interface IOwnable {
    /// @notice Whose the contract is.
    /// @return The owner; zero for nobody.
    function owner() external view returns (address);
}

/// @title A contract that is open to its owner
/// @notice The owner reads and calls everything; others call the functions that were named at the start, and
/// see the transactions that they sent.
contract OwnablePolicy is Policy {
    /// @notice Functions that everybody may call.
    mapping(bytes4 selector => bool) public isOpen;

    /// @param target_ The contract that this answers for.
    /// @param open Functions that everybody may call.
    constructor(address target_, bytes4[] memory open) Policy(target_) {
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
        bool may = _is(reader, txSender) || _owns(reader.account);
        return may ? ICocoAccess.canReadTransaction.selector : DENY;
    }

    /// @inheritdoc ICocoAccess
    function canReadCode(Reader calldata reader) external view override returns (bytes4) {
        return _owns(reader.account) ? ICocoAccess.canReadCode.selector : DENY;
    }

    function _log(Reader calldata reader, LogView calldata) internal view override returns (bool) {
        return _owns(reader.account);
    }

    function _call(Reader calldata reader, address, bytes calldata callData)
        internal
        view
        override
        returns (bool)
    {
        return _owns(reader.account) || (callData.length >= 4 && isOpen[bytes4(callData)]);
    }

    function _owns(address account) private view returns (bool) {
        return account != address(0) && IOwnable(target).owner() == account;
    }
}
