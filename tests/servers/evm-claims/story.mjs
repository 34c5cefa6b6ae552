// Two who were paid go to the contracts with the files that they downloaded.
//   node story.mjs FOLDER CLAIMS...   FOLDER has the public close.json, CLAIMS are downloads of accounts; prints a line of JSON
import { readFileSync } from 'node:fs'
import { balance, call, caller, compile, deploy, fund, json, must, require, send, token, word } from './evm.mjs'

const [folder, ...files] = process.argv.slice(2)
const close = json(folder, 'close.json')
const paid = BigInt(close.totals.paid)
const downloads = files.map((file) => JSON.parse(readFileSync(file, 'utf8')))
const code = compile()
const stranger = await caller('0x' + '77'.repeat(20))

const forms = {
  openzeppelin: {
    bytecode: code.distributor,
    claim: ({ closes }) => closes[0].openzeppelin,
    data: (claim, address, amount) => call('claim(address,uint256,bytes32[])', [address, amount], claim.proof),
  },
  uniswap: {
    bytecode: require('@uniswap/merkle-distributor/build/MerkleDistributor.json').bytecode,
    claim: ({ closes }) => closes[0].uniswap,
    data: (claim, address, amount) =>
      call('claim(uint256,address,uint256,bytes32[])', [claim.index, address, amount], claim.proof),
  },
  cumulative: {
    bytecode: code.cumulative,
    claim: ({ cumulative }) => cumulative[0].claim,
    data: (claim, address, amount) => call('claim(address,uint256,bytes32[])', [address, amount], claim.proof),
  },
}

const told = {}
for (const [name, form] of Object.entries(forms)) {
  const root = close.roots[name]
  const money = await token()
  const contract = await deploy(form.bytecode, [money.toString(), root].map(word).join(''))
  await fund(money, contract, paid)
  const claims = downloads.map(form.claim)
  const refused = async (what, data, from) => {
    const { exceptionError } = await send(contract, data, from)
    must(exceptionError, `${name}: ${what} was paid`)
    return what
  }
  const refusals = new Set()
  const seen = { paid: {} }
  for (const [place, claim] of claims.entries()) {
    const other = claims[(place + 1) % claims.length]
    const amount = BigInt(claim.amount)
    must(claim.root === root, `${name}: the proof is of another root`)
    const own = await caller(claim.address)
    // Whoever has seen the proof gains nothing by it.
    const thirdParty = form.data(claim, stranger.toString(), amount)
    refusals.add(await refused('a third party with the proof of another', thirdParty, stranger))
    refusals.add(await refused('a larger amount', form.data(claim, claim.address, amount + 1n), own))
    refusals.add(await refused('the proof of another', form.data({ ...claim, proof: other.proof }, claim.address, amount), own))
    const first = await send(contract, form.data(claim, claim.address, amount), own)
    must(!first.exceptionError, `${name}: the claim of ${claim.address} was refused`)
    refusals.add(await refused('a second try', form.data(claim, claim.address, amount), own))
    refusals.add(await refused('a second try by somebody else', form.data(claim, claim.address, amount), stranger))
    seen.paid[claim.address] = String(await balance(money, claim.address))
  }
  seen.stranger = String(await balance(money, stranger.toString()))
  seen.left = String(await balance(money, contract.toString()))
  seen.refused = [...refusals]
  told[name] = seen
}
console.log(JSON.stringify(told))
