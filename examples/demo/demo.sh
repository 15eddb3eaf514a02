#!/bin/sh
# The demo: simulated workers do a small task, the answers are exported, then a person may try it. Run it as often as you like.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
state=${1:-$here/.crowdstack}

echo "== preview, then up: 12 simulated workers label 50 short reviews, 3 answers each"
crowdstack --state "$state" up "$here/task.yaml" --yes --fresh

echo
echo "== the answers"
crowdstack --state "$state" export "$here/task.yaml" -f csv -o "$state/demo.csv"
head -4 "$state/demo.csv"
echo "... $(($(wc -l <"$state/demo.csv") - 1)) rows in $state/demo.csv"

echo
echo "== your turn"
crowdstack --state "$state" up "$here/people.yaml" --yes --detach
cat <<END

Open the link above in a browser: that is what a worker sees. When you are done:
  crowdstack --state $state export $here/people.yaml -f csv
  crowdstack --state $state destroy --yes

Real data, 8,000 recorded answers of 164 people, in under a minute:
  crowdstack up examples/rte/task.yaml --yes
  crowdstack export examples/rte/task.yaml -f csv -o rte.csv && python examples/rte/score.py rte.csv examples/rte/gold.csv

(crowdstack is in .venv/bin)
END
