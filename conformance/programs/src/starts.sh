# How programs start and end: `sh starts.sh [PREFIX...]`, each program with PREFIX before it, in a
# folder of its own.
run() { "$@"; }
if [ $# -gt 0 ]; then
  before=$*
  run() { $before "$@"; }
fi

echo "a file that is cut off within what an exec maps"
head -c 20000 "$(command -v bash)" > cut
chmod +x cut
(run ./cut; echo "status $?") 2>/dev/null

echo "a signal from outside"
for signal in PIPE SEGV BUS USR1 TERM; do
  rm -f pid
  mkfifo ready
  # Not by the function: the shell between would be what is killed.
  $before sh -c 'echo $$ > pid; echo go > ready; exec sleep 700' &
  read -r _ < ready
  kill -"$signal" $!
  wait $! 2>/dev/null
  echo "$signal: status $?"
  for _ in $(seq 500); do
    state=$(sed 's/.*) \(.\).*/\1/' "/proc/$(cat pid)/stat" 2>/dev/null)
    case $state in '' | X | Z) break ;; esac
    sleep 0.02
  done
  case $state in '' | X | Z) echo "$signal: it has ended" ;; *) echo "$signal: it lives" ;; esac
  rm ready
done

echo "SIGPIPE that is ignored stays so"
(trap '' PIPE; $before sh -c 'kill -PIPE $$; echo lives')

echo "standard descriptors that are closed"
report='for fd in 0 1 2; do [ -e /proc/self/fd/$fd ] && echo "$fd is open" >> fds; done; true'
for closing in '<&-' '>&-' '2>&-' '<&- >&- 2>&-'; do
  rm -f fds
  eval "run sh -c '$report' $closing"
  echo "$closing: $?"
  cat fds 2>/dev/null
done
run sh -c 'echo lost 2>/dev/null; echo "status $?" >&2' >&- 2>told
cat told

echo "what cannot be run"
mkdir -p folder/inner folder/name
: > folder/plain
for name in /etc/passwd/x ./folder ./folder/plain ./none inner; do
  (PATH=$PWD/folder:$PATH; run "$name" 2>/dev/null; echo "$name: status $?")
done
