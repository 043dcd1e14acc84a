// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @title Random numbers that nobody outside the enclaves can foresee
/// @notice Drawn from the batch's secret entropy and the transaction's hash. What was drawn stays drawn
/// when the frame that drew it reverts. A simulation draws other numbers.
/// @dev A transaction that dislikes its number can still revert as a whole: take the stake before the draw,
/// in an earlier transaction.
interface IRandom {
    /// @notice A number of 256 bits.
    /// @return The number.
    function next() external returns (bytes32);

    /// @notice A number below `bound`, evenly distributed.
    /// @param bound Above every number that may come; not zero.
    /// @return The number.
    function below(uint256 bound) external returns (uint256);
}

/// @title Accounts and the actors that they belong to
interface IIdentity {
    /// @notice The actor of `account`; zero if it is bound to none.
    /// @param account The account.
    /// @return The actor, in 32 bytes.
    function actorOf(address account) external view returns (bytes32);

    /// @notice The roles that the actor's manager gave to `account`, as bits.
    /// @param account The account.
    /// @return The roles.
    function rolesOf(address account) external view returns (uint32);

    /// @notice Grows whenever the account's tokens are ended.
    /// @param account The account.
    /// @return How often its tokens were ended.
    function generationOf(address account) external view returns (uint64);

    /// @notice The actor that submitted the running transaction.
    /// @return The actor, in 32 bytes.
    function submitter() external view returns (bytes32);

    /// @notice Binds the sender to `actor`, which must be the one that submits. The account itself sends it,
    /// not a contract. An actor's first account is its manager.
    /// @param actor The actor, in 32 bytes.
    function bind(bytes32 actor) external;

    /// @notice Ends the binding of an account: itself, or its actor's manager.
    /// @param account The account that is set free.
    function unbind(address account) external;

    /// @notice The manager sets the roles of an account of its actor.
    /// @param account The account.
    /// @param roles All of its roles from now on.
    function setRoles(address account, uint32 roles) external;

    /// @notice Ends all tokens of an account: itself, or its actor's manager.
    /// @param account The account whose tokens end.
    function revoke(address account) external;

    /// @notice Ends one token of the sender's.
    /// @param id What signing in told as the token's id.
    function revokeToken(bytes32 id) external;
}

/// @title Where in the ledger this runs
interface ILedger {
    /// @notice The network's identity.
    /// @return The digest that names it.
    function network() external view returns (bytes32);

    /// @notice The batch, which is the block's number.
    /// @return The number.
    function height() external view returns (uint64);

    /// @notice Ledger time in milliseconds since 1970.
    /// @return The time.
    function timeMillis() external view returns (uint64);

    /// @notice True in eth_call and eth_estimateGas: a contract that sells what it shows can refuse there.
    /// @return Whether this is one.
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
    /// @param target The contract.
    /// @return The policy.
    function policyOf(address target) external view returns (address);

    /// @notice The sender attaches a policy to itself.
    /// @param policy The policy; zero detaches.
    function attach(address policy) external;

    /// @notice The sender created `target` with this nonce, and attaches a policy to it. Zero detaches.
    /// @param target The contract.
    /// @param policy The policy.
    /// @param nonce The sender's nonce when it created the contract.
    function attach(address target, address policy, uint64 nonce) external;

    /// @notice The sender created `target` by CREATE2.
    /// @param target The contract.
    /// @param policy The policy; zero detaches.
    /// @param salt The salt of the creation.
    /// @param initCodeHash The hash of the code that created it.
    function attach2(address target, address policy, bytes32 salt, bytes32 initCodeHash) external;

    /// @notice Has the declaration of `target` read again.
    /// @param target The contract.
    function refresh(address target) external;

    /// @notice Founds a domain: its contracts exist for its members only. The sender is its founder.
    /// @param members Actors, or accounts as words; the sender is one without being named.
    /// @return The number of the domain.
    function newDomain(bytes32[] calldata members) external returns (uint64);

    /// @notice The founder takes further members in.
    /// @param domain The number of the domain.
    /// @param members Actors, or accounts as words.
    function extendDomain(uint64 domain, bytes32[] calldata members) external;

    /// @notice Whether somebody belongs to a domain.
    /// @param domain The number of the domain.
    /// @param member An actor, or an account as a word.
    /// @return Whether it does.
    function isMember(uint64 domain, bytes32 member) external view returns (bool);

    /// @notice Where the sender's next contracts belong; 0 for everybody.
    /// @param domain The number of a domain of which the sender is a member.
    function setHome(uint64 domain) external;

    /// @notice Where the next contracts of an account belong.
    /// @param account The account.
    /// @return The number of the domain; 0 for everybody.
    function homeOf(address account) external view returns (uint64);

    /// @notice Who reads logs of the sender with this first topic, as a set of bits (0: all others).
    /// @param topic The first topic.
    /// @param readers 1 everybody, 2 the sender, 4, 8 and 16 the account in topic 1, 2 and 3, 32 the domain.
    function setLogRule(bytes32 topic, uint64 readers) external;

    /// @notice The same, by the deployer of `target`.
    /// @param target The contract.
    /// @param topic The first topic; 0 for all others.
    /// @param readers 1 everybody, 2 the sender, 4, 8 and 16 the account in topic 1, 2 and 3, 32 the domain.
    function setLogRule(address target, bytes32 topic, uint64 readers) external;

    /// @notice A governor's vote to attach a policy to any contract.
    /// @param target The contract.
    /// @param policy The policy for which the vote is.
    function vote(address target, address policy) external;
}

/// @title Logs for named readers
interface IEmitTo {
    /// @notice Something for one reader, who alone sees it.
    /// @dev Emitted by the system contract, once for each reader.
    /// @param emitter The contract that had it emitted.
    /// @param reader Whom it is for.
    /// @param data What is told.
    event Addressed(address indexed emitter, address indexed reader, bytes data);

    /// @notice Emits `data` to each of `readers`, at most 256.
    /// @param readers Accounts.
    /// @param data What they are to read.
    function emitTo(address[] calldata readers, bytes calldata data) external;
}

/// @title Gas that does not tell which way a transaction went
interface IPadGas {
    /// @notice Has the transaction's gas shown rounded up to a multiple of `step`. Call it first: it holds
    /// also when the transaction reverts. Reverts if the transaction's gas limit is below `step`.
    /// @param step The multiple.
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
