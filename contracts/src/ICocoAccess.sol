// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @notice Who wants to read.
/// @param account An account that the reader has proved; zero for an actor without one.
/// @param actor The organisation, as the network's constitution knows it.
/// @param roles Bits: 31 member, 30 auditor, 29 deployer; bits below 28 are given by the actor's manager.
struct Reader {
    address account;
    bytes32 actor;
    uint32 roles;
}

/// @notice A log, as its reader would see it.
/// @param emitter The contract whose log it is.
/// @param topics Its topics, as they were emitted.
/// @param data Its data, as they were emitted.
/// @param txSender The account that sent the transaction.
/// @param seqno The number of the block.
struct LogView {
    address emitter;
    bytes32[] topics;
    bytes data;
    address txSender;
    uint64 seqno;
}

/// @title The access check of a contract
/// @notice A contract that declares this interface by ERC-165 at the end of its creation decides who reads
/// it. It can also be attached to a contract that knows nothing of it, through IPolicy.
/// @dev Yes is the function's own selector. Everything else is no: a revert, running out of gas (100,000 for
/// each check), an answer of another length, and a fallback that answers `true` to whatever it is asked.
interface ICocoAccess {
    /// @notice May `reader` see this log?
    /// @param reader Who asks.
    /// @param log The log.
    /// @return The selector of this function for yes.
    function canReadLog(Reader calldata reader, LogView calldata log) external view returns (bytes4);

    /// @notice May `reader` see a transaction to this contract that `txSender` sent?
    /// @param reader Who asks.
    /// @param txSender The account that sent it.
    /// @param selector The first four bytes of its data.
    /// @param seqno The number of its block.
    /// @return The selector of this function for yes.
    function canReadTransaction(Reader calldata reader, address txSender, bytes4 selector, uint64 seqno)
        external
        view
        returns (bytes4);

    /// @notice May this contract be called with `callData`? Asked at every frame, in transactions and calls.
    /// @param reader The one on whose behalf everything runs.
    /// @param caller The account or contract that makes this call.
    /// @param callData What it calls with; empty for a plain transfer.
    /// @return The selector of this function for yes.
    function canCall(Reader calldata reader, address caller, bytes calldata callData)
        external
        view
        returns (bytes4);

    /// @notice May `reader` see the code?
    /// @param reader Who asks.
    /// @return The selector of this function for yes.
    function canReadCode(Reader calldata reader) external view returns (bytes4);
}
