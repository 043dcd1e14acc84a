// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title What lies in the warehouses, one unit a sack
/// @notice OpenZeppelin's token as it is published: it knows nothing of Coco. Who may read it is decided by
/// the policy that is attached to it (contracts/src/policies/ERC20Policy.sol).
contract Stock is ERC20 {
    constructor(address[] memory holders, uint256 amount) ERC20("Stock", "SACK") {
        for (uint256 i = 0; i < holders.length; i++) {
            _mint(holders[i], amount);
        }
    }
}
