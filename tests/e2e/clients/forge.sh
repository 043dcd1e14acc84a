#!/usr/bin/env bash
# forge create and forge script, each with --broadcast. Both ask the node much more than they send.
#
# One case: URL with what it carries in it, KEY, HIDDEN (lines: address transaction holder code), OUT (a directory).
set -euo pipefail
cd "$(dirname "$0")/.."
export FOUNDRY_CONFIG=$PWD/clients/foundry/foundry.toml NODE_PATH=$PWD/node_modules

fail() { echo "forge: $*" >&2; exit 1; }
equal() { [ "$1" = "$2" ] || fail "expected '$2', found '$1'"; }
field() { node -e 'console.log(JSON.parse(require("fs").readFileSync(0))[process.argv[1]])' "$1"; }

export ETH_RPC_URL=$URL
owner=$(cast wallet address "$KEY")

created=$(forge create --root . --json --broadcast --private-key "$KEY" contracts/Token.sol:Token --constructor-args 1000)
token=$(field deployedTo <<< "$created")
equal "$(cast call "$token" "balanceOf(address)(uint256)" "$owner" | cut -d' ' -f1)" 1000
equal "$(cast receipt "$(field transactionHash <<< "$created")" status)" true

# Deploys a second token and transfers in one script. A script runs on a fork of the network first, which reads storage:
# on a confidential network there is none to read, also of contracts whose functions answer.
[ -n "$HIDDEN" ] && seen=0 || seen=1000
export FOUNDRY_BROADCAST=$OUT
run() { forge script --root . clients/foundry/script/Deploy.s.sol --rpc-url "$URL" --broadcast --private-key "$KEY" "$@" 2>&1; }
said=$(run --sig "run(address,uint256)" "$token" "$seen") || fail "$said"
[[ $said == *"ONCHAIN EXECUTION COMPLETE & SUCCESSFUL"* ]] || fail "$said"
second=$(node -e '
  const { transactions, receipts } = JSON.parse(require("fs").readFileSync(process.argv[1]));
  if (receipts.length !== 2 || receipts.some(({ status }) => status !== "0x1")) process.exit(1);
  console.log(transactions[0].contractAddress);' "$OUT/Deploy.s.sol/31337/run-latest.json")
equal "$(cast call "$second" "balanceOf(address)(uint256)" 0x00000000000000000000000000000000000000FE | cut -d' ' -f1)" 41
if said=$(run --sig "refused(address)" "$token"); then fail "a script that reverts was sent: $said"; fi
[[ $said == *"not in this consortium"* ]] || fail "$said"

while read -r address _ holder code; do
  [ -n "$address" ] || continue
  # Code that is not seen answers nothing, code without its storage zero.
  told=0x
  [ "$code" = code ] && told=0x$(printf '0%.0s' {1..64})
  said=$(run --sig "look(address,address)" "$address" "$holder") || fail "$said"
  [[ $said == *"told: bytes $told"$'\n'* ]] || fail "$said"
done <<< "$HIDDEN"
echo "forge: all as expected"
