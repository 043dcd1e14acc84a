// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ICocoAccess, LogView, Reader} from "../ICocoAccess.sol";

/// @title What ready policies share
/// @notice One policy answers for one contract, the `target`, which need not know of it. What the policy
/// does not know is denied.
abstract contract Policy is ICocoAccess {
    bytes4 internal constant DENY = 0;
    uint32 internal constant AUDITOR = 1 << 30;

    /// @notice The contract that this answers for.
    address public immutable target;

    /// @param target_ The contract that this answers for.
    constructor(address target_) {
        target = target_;
    }

    /// @notice ERC-165: this declares ICocoAccess.
    /// @param id The interface.
    /// @return Whether this implements it.
    function supportsInterface(bytes4 id) external pure returns (bool) {
        return id == type(ICocoAccess).interfaceId || id == 0x01ffc9a7;
    }

    /// @inheritdoc ICocoAccess
    function canReadLog(Reader calldata reader, LogView calldata log) external view returns (bytes4) {
        return _log(reader, log) ? ICocoAccess.canReadLog.selector : DENY;
    }

    /// @inheritdoc ICocoAccess
    function canReadTransaction(Reader calldata reader, address txSender, bytes4, uint64)
        external
        view
        virtual
        returns (bytes4)
    {
        return _is(reader, txSender) ? ICocoAccess.canReadTransaction.selector : DENY;
    }

    /// @inheritdoc ICocoAccess
    function canCall(Reader calldata reader, address caller, bytes calldata callData)
        external
        view
        returns (bytes4)
    {
        return _call(reader, caller, callData) ? ICocoAccess.canCall.selector : DENY;
    }

    /// @inheritdoc ICocoAccess
    function canReadCode(Reader calldata) external view virtual returns (bytes4) {
        return ICocoAccess.canReadCode.selector;
    }

    function _log(Reader calldata reader, LogView calldata log) internal view virtual returns (bool);

    function _call(Reader calldata reader, address caller, bytes calldata callData)
        internal
        view
        virtual
        returns (bool);

    /// @dev The reader proved this account. A reader without one is nobody's.
    function _is(Reader calldata reader, address account) internal pure returns (bool) {
        return account != address(0) && reader.account == account;
    }

    /// @dev The reader is the account, or the contract that asks is: it may know of itself.
    function _concerns(Reader calldata reader, address caller, address account) internal pure returns (bool) {
        return _is(reader, account) || (caller == account && caller != address(0));
    }

    /// @dev One of the topics after the first names the reader.
    function _named(Reader calldata reader, LogView calldata log) internal pure returns (bool) {
        for (uint256 i = 1; i < log.topics.length; i++) {
            if (_is(reader, address(uint160(uint256(log.topics[i])))) && uint256(log.topics[i]) >> 160 == 0) {
                return true;
            }
        }
        return false;
    }
}
