// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ICocoAccess, LogView, Policy, Reader} from "./Policy.sol";

/// @title What is asked of a contract with roles
/// @dev OpenZeppelin's IAccessControl and ERC-165, as far as they are needed.
interface IRoles {
    /// @notice Whether an account holds a role.
    /// @param role The role.
    /// @param account The account.
    /// @return Whether it does.
    function hasRole(bytes32 role, address account) external view returns (bool);
    /// @notice ERC-165.
    /// @param id The interface.
    /// @return Whether the contract declares it.
    function supportsInterface(bytes4 id) external view returns (bool);
}

/// @title A contract that is open to those who hold a role in it
/// @notice Holders of `readerRole` (by the target's own AccessControl) read and call everything; others call
/// the functions that were named at the start, and see the transactions that they sent.
contract AccessControlPolicy is Policy {
    /// @notice The role that reads.
    bytes32 public immutable readerRole;

    /// @notice Functions that everybody may call.
    mapping(bytes4 selector => bool) public isOpen;

    /// @dev IAccessControl's id by ERC-165.
    bytes4 private constant ACCESS_CONTROL = 0x7965db0b;

    /// @dev A contract whose fallback answers `true` to everything would make everybody a holder of the role.
    /// So the target must declare IAccessControl, and tell one interface from another.
    /// @param target_ The contract that this answers for.
    /// @param readerRole_ The role that reads.
    /// @param open Functions that everybody may call.
    constructor(address target_, bytes32 readerRole_, bytes4[] memory open) Policy(target_) {
        IRoles roles = IRoles(target_);
        require(
            roles.supportsInterface(ACCESS_CONTROL) && !roles.supportsInterface(0xffffffff),
            "the target does not declare IAccessControl"
        );
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
