// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ICocoAccess, LogView, Reader} from "@coco/contracts/src/ICocoAccess.sol";
import {Coco} from "@coco/contracts/src/system/ICocoSystem.sol";

interface IStock {
    function transferFrom(address from, address to, uint256 amount) external returns (bool);
}

/// @title Price lists, orders and deliveries between retailers, suppliers and carriers
/// @notice A price is known to the supplier and the one retailer that it is for; an order to retailer and
/// supplier; a shipment to these and the carrier, who learns what and how much it carries and never the price.
/// @dev Who reads what is in the four functions at the end, and nowhere else: every event names in its topics
/// whoever may read it.
contract Trade is ICocoAccess {
    enum Stage {
        None,
        Ordered,
        Shipped,
        Delivered
    }

    struct Order {
        address retailer;
        uint32 item;
        uint32 quantity;
        Stage stage;
        address supplier;
        address carrier;
        uint128 unitPrice;
    }

    error NoPrice();
    error NotYours();

    event PriceSet(address indexed supplier, address indexed retailer, uint32 item, uint128 unitPrice);
    event Ordered(
        bytes32 id,
        address indexed retailer,
        address indexed supplier,
        uint32 item,
        uint32 quantity,
        uint128 unitPrice
    );
    event Shipped(
        bytes32 id,
        address indexed retailer,
        address indexed supplier,
        address indexed carrier,
        uint32 item,
        uint32 quantity
    );
    event Delivered(
        bytes32 id,
        address indexed retailer,
        address indexed supplier,
        address indexed carrier,
        uint32 item,
        uint32 quantity
    );

    /// @notice What moves on delivery: the supplier lets this contract move it.
    IStock public immutable stock;

    mapping(address supplier => mapping(address retailer => mapping(uint32 item => uint128))) private _prices;
    mapping(bytes32 id => Order) private _orders;

    constructor(IStock stock_) {
        stock = stock_;
    }

    /// @notice A supplier sets what one retailer pays for an item; 0: it is not offered.
    function setPrice(address retailer, uint32 item, uint128 unitPrice) external {
        _prices[msg.sender][retailer][item] = unitPrice;
        emit PriceSet(msg.sender, retailer, item, unitPrice);
    }

    /// @notice What the caller pays to a supplier. There is no way to ask for somebody else.
    function priceFrom(address supplier, uint32 item) external view returns (uint128) {
        return _prices[supplier][msg.sender][item];
    }

    /// @notice A retailer orders at the price that it was given.
    /// @dev The number is random: one that counts would tell how much others order.
    function order(address supplier, uint32 item, uint32 quantity) external returns (bytes32 id) {
        uint128 price = _prices[supplier][msg.sender][item];
        if (price == 0 || quantity == 0) revert NoPrice();
        id = Coco.RANDOM.next();
        _orders[id] = Order(msg.sender, item, quantity, Stage.Ordered, supplier, address(0), price);
        emit Ordered(id, msg.sender, supplier, item, quantity, price);
    }

    /// @notice The supplier hands the goods to a carrier.
    function ship(bytes32 id, address carrier) external {
        Order storage o = _orders[id];
        if (o.supplier != msg.sender || o.stage != Stage.Ordered) revert NotYours();
        o.carrier = carrier;
        o.stage = Stage.Shipped;
        emit Shipped(id, o.retailer, msg.sender, carrier, o.item, o.quantity);
    }

    /// @notice The carrier has delivered; the stock becomes the retailer's in the same transaction.
    function deliver(bytes32 id) external {
        Order storage o = _orders[id];
        if (o.carrier != msg.sender || o.stage != Stage.Shipped) revert NotYours();
        o.stage = Stage.Delivered;
        require(stock.transferFrom(o.supplier, o.retailer, o.quantity));
        emit Delivered(id, o.retailer, o.supplier, msg.sender, o.item, o.quantity);
    }

    // Who reads what.

    /// @notice ERC-165.
    function supportsInterface(bytes4 id) external pure returns (bool) {
        return id == type(ICocoAccess).interfaceId || id == 0x01ffc9a7;
    }

    /// @inheritdoc ICocoAccess
    function canReadLog(Reader calldata reader, LogView calldata log) external pure returns (bytes4) {
        for (uint256 i = 1; i < log.topics.length; i++) {
            if (reader.account != address(0) && log.topics[i] == bytes32(uint256(uint160(reader.account)))) {
                return ICocoAccess.canReadLog.selector;
            }
        }
        return 0;
    }

    /// @inheritdoc ICocoAccess
    function canReadTransaction(Reader calldata reader, address txSender, bytes4, uint64)
        external
        pure
        returns (bytes4)
    {
        bool own = reader.account != address(0) && reader.account == txSender;
        return own ? ICocoAccess.canReadTransaction.selector : bytes4(0);
    }

    /// @inheritdoc ICocoAccess
    /// @dev Accounts call it themselves; a contract in between is refused.
    function canCall(Reader calldata reader, address caller, bytes calldata) external pure returns (bytes4) {
        bool itself = reader.account != address(0) && reader.account == caller;
        return itself ? ICocoAccess.canCall.selector : bytes4(0);
    }

    /// @inheritdoc ICocoAccess
    function canReadCode(Reader calldata) external pure returns (bytes4) {
        return ICocoAccess.canReadCode.selector;
    }
}
