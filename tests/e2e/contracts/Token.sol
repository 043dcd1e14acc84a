// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// OpenZeppelin's ERC-20, and one function that reverts with a text.
contract Token is ERC20 {
    constructor(uint256 supply) ERC20("Consortium Token", "CTK") {
        _mint(msg.sender, supply);
    }

    function refuse() external pure {
        revert("not in this consortium");
    }
}
