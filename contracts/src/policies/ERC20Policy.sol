// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {LogView, Policy, Reader} from "./Policy.sol";

/// @title A token whose balances are their holders' business
/// @notice Everybody learns the token's name, symbol, decimals and supply. Balances and allowances are told
/// to those whom they concern, transfers to sender and recipient. Everybody may transact.
contract ERC20Policy is Policy {
    /// @param target_ The contract that this answers for.
    constructor(address target_) Policy(target_) {}

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
        if (selector == 0x70a08231) {
            // balanceOf(address)
            return _concerns(reader, caller, abi.decode(callData[4:], (address)));
        }
        if (selector == 0xdd62ed3e) {
            // allowance(address,address)
            (address owner, address spender) = abi.decode(callData[4:], (address, address));
            return _concerns(reader, caller, owner) || _concerns(reader, caller, spender);
        }
        return selector == 0x06fdde03 // name()
            || selector == 0x95d89b41 // symbol()
            || selector == 0x313ce567 // decimals()
            || selector == 0x18160ddd // totalSupply()
            || selector == 0xa9059cbb // transfer(address,uint256)
            || selector == 0x095ea7b3 // approve(address,uint256)
            || selector == 0x23b872dd; // transferFrom(address,address,uint256)
    }
}
