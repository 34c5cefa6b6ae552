// Takes the files of a closed month to where they are used: OpenZeppelin's library, and contracts on an
// Ethereum virtual machine in this process. Every proof must be accepted, every claim paid once and
// refused a second and a third time.
//   node run.mjs FOLDER [FOLDER OF THE NEXT MONTH]   prints a line of JSON
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { StandardMerkleTree } from '@openzeppelin/merkle-tree'
import { balance, call, compile, deploy, fund, json, must, owner, require, send, supply, token, word } from './evm.mjs'

const [folder, next] = process.argv.slice(2)

// Claims everything; then tries again, twice. Of many claims, a part is looked at more closely.
const claimAll = async (name, contract, money, claims, again) => {
  const every = claims.length > 1000 ? 50 : 1
  const isLookedAt = (place) => place % every === 0
  for (const [place, claim] of claims.entries()) {
    const before = again && isLookedAt(place) ? await balance(money, claim.address) : 0n
    const { exceptionError } = await send(contract, claim.data)
    must(!exceptionError, `${name}: the claim of ${claim.address} was refused`)
    if (!isLookedAt(place)) continue
    must(await balance(money, claim.address) === before + claim.pays, `${name}: ${claim.address} was paid another amount`)
  }
  for (let attempt = 2; attempt <= 3; attempt++) {
    for (const claim of claims.filter((_, place) => isLookedAt(place))) {
      const { exceptionError } = await send(contract, claim.data)
      must(exceptionError, `${name}: attempt ${attempt} of ${claim.address} was paid`)
    }
  }
}

const standard = (folder, file, root) => {
  const tree = StandardMerkleTree.load(json(folder, file))
  tree.validate()
  const values = [...tree.entries()]
  must(tree.root === root, `${file}: the root is ${tree.root}`)
  const rebuilt = StandardMerkleTree.of(values.map(([, value]) => value), ['address', 'uint256'])
  must(JSON.stringify(rebuilt.dump()) === JSON.stringify(tree.dump()), `${file} is not what the library makes of its values`)
  return values.map(([place, [address, amount]]) => {
    const proof = tree.getProof(place)
    must(StandardMerkleTree.verify(root, ['address', 'uint256'], [address, amount], proof), `${file}: ${address}`)
    return { address, pays: BigInt(amount), data: call('claim(address,uint256,bytes32[])', [address, amount], proof) }
  })
}

const close = json(folder, 'close.json')
const paid = BigInt(close.totals.paid)
const code = compile()
const counts = {}

// OpenZeppelin's tree.
{
  const claims = standard(folder, 'openzeppelin.json', close.roots.openzeppelin)
  must(claims.reduce((sum, claim) => sum + claim.pays, 0n) === paid, 'openzeppelin.json has another sum')
  const money = await token()
  const contract = await deploy(code.distributor, [money.toString(), close.roots.openzeppelin].map(word).join(''))
  await fund(money, contract, paid)
  await claimAll('openzeppelin', contract, money, claims)
  must(await balance(money, contract.toString()) === 0n, 'openzeppelin: something is left')
  const forged = call('claim(address,uint256,bytes32[])', [owner.toString(), 1], [])
  must((await send(contract, forged)).exceptionError, 'openzeppelin: a forged claim was paid')
  counts.openzeppelin = claims.length
}

// Uniswap's own bytecode.
{
  const { bytecode } = require('@uniswap/merkle-distributor/build/MerkleDistributor.json')
  const files = readdirSync(folder).filter((name) => /^uniswap(-\d+)?\.json$/.test(name))
  const claims = files.flatMap((name) => {
    const file = json(folder, name)
    must(file.merkleRoot === close.roots.uniswap, `${name}: another root`)
    must(BigInt(file.tokenTotal) === paid, `${name}: another total`)
    return Object.entries(file.claims).map(([address, { index, amount, proof }]) => ({
      address, index, pays: BigInt(amount),
      data: call('claim(uint256,address,uint256,bytes32[])', [index, address, amount], proof),
    }))
  })
  claims.sort((one, other) => one.index - other.index)
  must(claims.every((claim, place) => claim.index === place), 'uniswap: an index is missing')
  const money = await token()
  const contract = await deploy(bytecode, [money.toString(), close.roots.uniswap].map(word).join(''))
  await fund(money, contract, paid)
  await claimAll('uniswap', contract, money, claims)
  must(await balance(money, contract.toString()) === 0n, 'uniswap: something is left')
  counts.uniswap = claims.length
}

// Cumulative amounts, over two closes.
{
  const claims = standard(folder, 'cumulative.json', close.roots.cumulative)
  const money = await token()
  const contract = await deploy(code.cumulative, [money.toString(), close.roots.cumulative].map(word).join(''))
  await fund(money, contract, supply)
  await claimAll('cumulative', contract, money, claims)
  counts.cumulative = claims.length
  if (next) {
    const later = json(next, 'close.json')
    await send(contract, call('setRoot(bytes32)', [later.roots.cumulative]))
    const had = new Map(claims.map((claim) => [claim.address, claim.pays]))
    const more = standard(next, 'cumulative.json', later.roots.cumulative)
      .map((claim) => ({ ...claim, pays: claim.pays - (had.get(claim.address) ?? 0n) }))
    must(more.every((claim) => claim.pays >= 0n), 'a cumulative amount fell')
    const due = more.filter((claim) => claim.pays > 0n)
    must(due.reduce((sum, claim) => sum + claim.pays, 0n) === BigInt(later.totals.paid), 'the next close pays another sum')
    await claimAll('cumulative, next month', contract, money, due, true)
    counts.next = due.length
  }
}

// Sablier's CSV says the same as the tree.
{
  const [header, ...rows] = readFileSync(join(folder, 'sablier.csv'), 'utf8').trimEnd().split('\n')
  must(header === 'address,amount', 'sablier.csv: another header')
  const units = (text) => {
    const [whole, fraction = ''] = text.split('.')
    return BigInt(whole + fraction.padEnd(close.terms.decimals, '0'))
  }
  const sum = rows.reduce((sum, row) => sum + units(row.split(',')[1]), 0n)
  must(sum === paid, 'sablier.csv has another sum')
  counts.sablier = rows.length
}
console.log(JSON.stringify(counts))
