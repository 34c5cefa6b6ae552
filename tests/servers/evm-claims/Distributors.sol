// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";

interface IToken {
    function transfer(address to, uint256 amount) external returns (bool);
}

/// Pays each leaf of a tree once.
contract Distributor {
    IToken public immutable token;
    bytes32 public immutable root;
    mapping(address => bool) public claimed;

    constructor(IToken token_, bytes32 root_) {
        token = token_;
        root = root_;
    }

    function claim(address account, uint256 amount, bytes32[] calldata proof) external {
        require(!claimed[account], "claimed");
        bytes32 leaf = keccak256(bytes.concat(keccak256(abi.encode(account, amount))));
        require(MerkleProof.verifyCalldata(proof, root, leaf), "proof");
        claimed[account] = true;
        require(token.transfer(account, amount), "transfer");
    }
}

/// Pays what an address was not paid yet of its cumulative amount; the root is replaced by each close.
contract CumulativeDistributor {
    IToken public immutable token;
    bytes32 public root;
    mapping(address => uint256) public paid;

    constructor(IToken token_, bytes32 root_) {
        token = token_;
        root = root_;
    }

    function setRoot(bytes32 root_) external {
        root = root_;
    }

    function claim(address account, uint256 amount, bytes32[] calldata proof) external {
        bytes32 leaf = keccak256(bytes.concat(keccak256(abi.encode(account, amount))));
        require(MerkleProof.verifyCalldata(proof, root, leaf), "proof");
        uint256 due = amount - paid[account];
        require(due > 0, "claimed");
        paid[account] = amount;
        require(token.transfer(account, due), "transfer");
    }
}
