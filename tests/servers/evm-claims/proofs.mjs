// Checks every proof of the files of a closed month by the rules of those who read them: OpenZeppelin's
// library, and Uniswap's form as its own script verifies it. No contract is called, so that many claims
// are checked within seconds.
//   node proofs.mjs FOLDER   prints a line of JSON
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { StandardMerkleTree } from '@openzeppelin/merkle-tree'
import { keccak256 } from 'ethereum-cryptography/keccak.js'
import { json, must } from './files.mjs'

const [folder] = process.argv.slice(2)
const close = json(folder, 'close.json')
const paid = BigInt(close.totals.paid)
const counts = {}

// What was paid so far is, after the first close, what it pays: the same file, which is checked once.
const bytes = (file) => readFileSync(join(folder, file))
const isFirst = close.roots.cumulative === close.roots.openzeppelin
if (isFirst) must(bytes('cumulative.json').equals(bytes('openzeppelin.json')), 'cumulative.json has another form')

// OpenZeppelin: the file is loaded, validated, and each leaf is verified by the proof that the library
// takes from it.
for (const form of isFirst ? ['openzeppelin'] : ['openzeppelin', 'cumulative']) {
  const file = `${form}.json`
  const root = close.roots[form]
  const tree = StandardMerkleTree.load(json(folder, file))
  tree.validate()
  must(tree.root === root, `${file}: the root is ${tree.root}`)
  let [sum, count] = [0n, 0]
  for (const [place, [address, amount]] of tree.entries()) {
    const leaf = ['address', 'uint256']
    const proof = tree.getProof(place)
    must(StandardMerkleTree.verify(root, leaf, [address, amount], proof), `${file}: ${address}`)
    // A check that accepts another amount as well checks nothing.
    if (count % 1000 === 0) {
      const more = String(BigInt(amount) + 1n)
      must(!StandardMerkleTree.verify(root, leaf, [address, more], proof), `${file}: ${address} with another amount`)
    }
    sum += BigInt(amount)
    count++
  }
  if (form === 'openzeppelin') {
    must(sum === paid, `${file} has another sum`)
    must(count === close.totals.claims, `${file} has another number of claims`)
  }
  counts[form] = count
}

if (isFirst) counts.cumulative = counts.openzeppelin

// Uniswap: a leaf is keccak256(index, account, amount), packed; nodes are hashed in order.
{
  const word = (value) => BigInt(value).toString(16).padStart(64, '0')
  const unhex = (hex) => Buffer.from(hex.replace(/^0x/, ''), 'hex')
  const hash = (data) => Buffer.from(keccak256(data))
  const parent = (one, other) => hash(Buffer.concat(Buffer.compare(one, other) < 0 ? [one, other] : [other, one]))
  const leads = (index, account, amount, proof, root) => {
    const leaf = hash(unhex(word(index) + account.slice(2) + word(amount)))
    return proof.reduce((node, next) => parent(node, unhex(next)), leaf).equals(root)
  }
  const root = unhex(close.roots.uniswap)
  const seen = new Set()
  let sum = 0n
  for (const name of readdirSync(folder).filter((name) => /^uniswap(-\d+)?\.json$/.test(name))) {
    const file = json(folder, name)
    must(file.merkleRoot === close.roots.uniswap, `${name}: another root`)
    must(BigInt(file.tokenTotal) === paid, `${name}: another total`)
    for (const [account, { index, amount, proof }] of Object.entries(file.claims)) {
      must(leads(index, account, amount, proof, root), `${name}: ${account}`)
      if (index % 1000 === 0) {
        const more = BigInt(amount) + 1n
        must(!leads(index, account, more, proof, root), `${name}: ${account} with another amount`)
      }
      seen.add(index)
      sum += BigInt(amount)
    }
  }
  must(sum === paid, 'uniswap has another sum')
  for (let index = 0; index < seen.size; index++) must(seen.has(index), `uniswap: the index ${index} is missing`)
  counts.uniswap = seen.size
}
console.log(JSON.stringify(counts))
