// Contracts on an Ethereum virtual machine in this process, and what claims are made of.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { createEVM } from '@ethereumjs/evm'
import { Caches, MerkleStateManager } from '@ethereumjs/statemanager'
import { Account, bytesToHex, createAddressFromString, hexToBytes } from '@ethereumjs/util'
import { keccak256 } from 'ethereum-cryptography/keccak.js'
import solc from 'solc'
import { json, must } from './files.mjs'

export { json, must }

export const require = createRequire(import.meta.url)
const here = new URL('.', import.meta.url).pathname

// --- calldata
export const word = (value) => BigInt(value).toString(16).padStart(64, '0')
const selector = (signature) => bytesToHex(keccak256(new TextEncoder().encode(signature))).slice(2, 10)
export const call = (signature, words, proof) => {
  const head = words.map(word).join('')
  if (!proof) return hexToBytes('0x' + selector(signature) + head)
  const tail = word((words.length + 1) * 32) + word(proof.length) + proof.map((n) => n.slice(2)).join('')
  return hexToBytes('0x' + selector(signature) + head + tail)
}

// --- contracts
export const compile = () => {
  const source = readFileSync(join(here, 'Distributors.sol'), 'utf8')
  const input = {
    language: 'Solidity',
    sources: { 'Distributors.sol': { content: source } },
    settings: { evmVersion: 'cancun', optimizer: { enabled: true }, outputSelection: { '*': { '*': ['evm.bytecode.object'] } } },
  }
  const read = (path) => ({ contents: readFileSync(require.resolve(path), 'utf8') })
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: read }))
  const errors = (output.errors ?? []).filter((error) => error.severity === 'error')
  must(errors.length === 0, errors.map((error) => error.formattedMessage).join('\n'))
  const of = (name) => output.contracts['Distributors.sol'][name].evm.bytecode.object
  return { distributor: of('Distributor'), cumulative: of('CumulativeDistributor') }
}

// The state manager that an EVM has by itself copies all accounts and storage with each call. This one keeps
// what changed; inside of a checkpoint that is never committed, no call writes it into tries and hashes them.
const stateManager = new MerkleStateManager({ caches: new Caches() })
await stateManager.checkpoint()
const evm = await createEVM({ stateManager })
export const owner = createAddressFromString('0x' + '99'.repeat(20))
await stateManager.putAccount(owner, new Account(0n, 10n ** 30n))
export const send = async (to, data, caller = owner) => {
  const { execResult } = await evm.runCall({ caller, origin: caller, to, data, gasLimit: 30_000_000n })
  return execResult
}
// An account that calls contracts.
export const caller = async (address) => {
  const account = createAddressFromString(address)
  await stateManager.putAccount(account, new Account(0n, 10n ** 20n))
  return account
}
export const deploy = async (bytecode, words = '') => {
  const data = hexToBytes((bytecode.startsWith('0x') ? bytecode : '0x' + bytecode) + words)
  const result = await evm.runCall({ caller: owner, origin: owner, data, gasLimit: 30_000_000n })
  must(!result.execResult.exceptionError, `cannot deploy: ${result.execResult.exceptionError?.error}`)
  return result.createdAddress
}
export const balance = async (token, of) => {
  const { returnValue } = await send(token, call('balanceOf(address)', [of]))
  return BigInt(bytesToHex(returnValue))
}
export const supply = 2n ** 255n
export const token = async () => {
  const { bytecode } = require('@uniswap/merkle-distributor/build/TestERC20.json')
  // name, symbol, amount: two empty strings behind the head.
  return deploy(bytecode, [96, 128, supply, 0, 0].map(word).join(''))
}
export const fund = async (money, whom, amount) => {
  const { exceptionError } = await send(money, call('transfer(address,uint256)', [whom.toString(), amount]))
  must(!exceptionError, 'cannot fund a contract')
}
