// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @title Random numbers that nobody outside the enclaves can foresee
/// @notice Drawn from the batch's secret entropy and the transaction's hash. What was drawn stays drawn
/// when the frame that drew it reverts. A simulation draws other numbers.
/// @dev A transaction that dislikes its number can still revert as a whole: take the stake before the draw,
/// in an earlier transaction.
interface IRandom {
    /// @notice A number of 256 bits.
    function next() external returns (bytes32);

    /// @notice A number below `bound`, evenly distributed.
    function below(uint256 bound) external returns (uint256);
}

/// @title Accounts and the actors that they belong to
interface IIdentity {
    /// @notice The actor of `account`; zero if it is bound to none.
    function actorOf(address account) external view returns (bytes32);

    /// @notice The roles that the actor's manager gave to `account`, as bits.
    function rolesOf(address account) external view returns (uint32);

    /// @notice Grows whenever the account's tokens are ended.
    function generationOf(address account) external view returns (uint64);

    /// @notice The actor that submitted the running transaction.
    function submitter() external view returns (bytes32);

    /// @notice Binds the sender to `actor`, which must be the one that submits. The account itself sends it,
    /// not a contract. An actor's first account is its manager.
    function bind(bytes32 actor) external;

    /// @notice Ends the binding of an account: itself, or its actor's manager.
    function unbind(address account) external;

    /// @notice The manager sets the roles of an account of its actor.
    function setRoles(address account, uint32 roles) external;

    /// @notice Ends all tokens of an account: itself, or its actor's manager.
    function revoke(address account) external;

    /// @notice Ends one token of the sender's.
    function revokeToken(bytes32 id) external;
}

/// @title Where in the ledger this runs
interface ILedger {
    /// @notice The network's identity.
    function network() external view returns (bytes32);

    /// @notice The batch, which is the block's number.
    function height() external view returns (uint64);

    /// @notice Ledger time in milliseconds since 1970.
    function timeMillis() external view returns (uint64);

    /// @notice True in eth_call and eth_estimateGas: a contract that sells what it shows can refuse there.
    function isSimulation() external view returns (bool);
}

/// @title Calls of systems outside the network
/// @notice The transaction waits, outside its block, until the answer is there or the time is over; then it
/// is executed again from its beginning, with the answer, which is recorded in the ledger. Meanwhile others
/// go on, except later ones of the same sender.
/// @dev Only endpoints of the constitution can be called, by the contracts that it names, with the methods,
/// paths and sizes that it allows. The server is called at least once, each time with the header
/// `idempotency-key: TRANSACTION-NUMBER` (hash of the transaction, number of the call in it), and perhaps
/// for a transaction that does not come into a block. What is asked must not depend on the block (height,
/// time, RANDOM), or on state that others change meanwhile: if it differs the second time, the call fails
/// with `Changed`. At most four calls in a transaction. Reverts in static calls, and in simulations: give
/// such a transaction a gas limit of your own.
interface IExternal {
    enum Failure {
        None,
        NotAllowed, // by the constitution
        Unreachable, // no connection, or it ended too early
        Untrusted, // another server than the one that the constitution names
        TimedOut,
        TooLarge, // the reply
        BadReply, // not HTTP
        Busy, // too many calls are under way
        Changed // the transaction asked for something else before
    }

    /// @notice There is no reply.
    error Failed(Failure why);

    /// @notice Asks an endpoint.
    /// @param endpoint its name in the constitution
    /// @param method such as `GET`
    /// @param target path and query
    /// @param headers further header fields, one `name: value` a line; may be empty
    /// @param body may be empty
    /// @return status of HTTP, whatever it is; redirections are not followed
    /// @return reply the body of the reply
    /// @dev Costs 30,000 gas, and 16 for each byte that goes out and comes in. Use `try`/`catch` to go on
    /// after a failure.
    function call(
        string calldata endpoint,
        string calldata method,
        string calldata target,
        string calldata headers,
        bytes calldata body
    ) external returns (uint16 status, bytes memory reply);
}

/// @title Access policies of contracts that have none of their own
interface IPolicy {
    /// @notice The policy that answers for `target`; zero for none.
    function policyOf(address target) external view returns (address);

    /// @notice The sender attaches a policy to itself.
    function attach(address policy) external;

    /// @notice The sender created `target` with this nonce, and attaches a policy to it. Zero detaches.
    function attach(address target, address policy, uint64 nonce) external;

    /// @notice The sender created `target` by CREATE2.
    function attach2(address target, address policy, bytes32 salt, bytes32 initCodeHash) external;

    /// @notice Has the declaration of `target` read again.
    function refresh(address target) external;

    /// @notice Founds a domain: its contracts exist for its members only. The sender is its founder.
    function newDomain(bytes32[] calldata members) external returns (uint64);

    /// @notice The founder takes further members in.
    function extendDomain(uint64 domain, bytes32[] calldata members) external;

    function isMember(uint64 domain, bytes32 member) external view returns (bool);

    /// @notice Where the sender's next contracts belong; 0 for everybody.
    function setHome(uint64 domain) external;

    function homeOf(address account) external view returns (uint64);

    /// @notice Who reads logs of the sender with this first topic, as a set of bits (0: all others).
    function setLogRule(bytes32 topic, uint64 readers) external;

    /// @notice The same, by the deployer of `target`.
    function setLogRule(address target, bytes32 topic, uint64 readers) external;

    /// @notice A governor's vote to attach a policy to any contract.
    function vote(address target, address policy) external;
}

/// @title Logs for named readers
interface IEmitTo {
    /// @dev Emitted by the system contract, once for each reader; each sees its own.
    event Addressed(address indexed emitter, address indexed reader, bytes data);

    /// @notice Emits `data` to each of `readers`, at most 256.
    function emitTo(address[] calldata readers, bytes calldata data) external;
}

/// @title Gas that does not tell which way a transaction went
interface IPadGas {
    /// @notice Has the transaction's gas shown rounded up to a multiple of `step`. Call it first: it holds
    /// also when the transaction reverts. Reverts if the transaction's gas limit is below `step`.
    function padTo(uint64 step) external;
}

/// @title Where the system contracts are
library Coco {
    IRandom internal constant RANDOM = IRandom(0x00000000000000000000000000000000C0C00001);
    IIdentity internal constant IDENTITY = IIdentity(0x00000000000000000000000000000000C0c00002);
    ILedger internal constant LEDGER = ILedger(0x00000000000000000000000000000000c0C00003);
    IExternal internal constant EXTERNAL = IExternal(0x00000000000000000000000000000000c0c00004);
    IPolicy internal constant POLICY = IPolicy(0x00000000000000000000000000000000C0C00005);
    IEmitTo internal constant EMIT_TO = IEmitTo(0x00000000000000000000000000000000C0c00006);
    IPadGas internal constant PAD_GAS = IPadGas(0x00000000000000000000000000000000C0c00007);
}
