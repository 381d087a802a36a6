#: exec: both outputs, and exit codes [stream]
run() { kubectl --namespace demo exec shell -- sh -c "$1"; }
expect 0 run 'echo out; echo err >&2'
expect 42 run 'echo before; exit 42'
expect 137 run 'kill -9 $$'
expect 1 kubectl --namespace demo exec shell -c nothing -- true
expect 1 kubectl --namespace demo exec nobody -- true
expect 1 kubectl --namespace demo exec shell -- /no/such/program

#: exec: input, and megabytes both ways [stream]
echo hello | kubectl --namespace demo exec -i shell -- cat
seq 1 800000 >numbers
kubectl --namespace demo exec -i shell -- sh -c 'sha256sum; exit 3' <numbers || echo "exit code $?"
kubectl --namespace demo exec shell -- seq 1 800000 | sha256sum
kubectl --namespace demo exec -i shell -- cat <numbers | sha256sum; sha256sum <numbers

#: exec on a terminal: input, output, exit code [stream]
{ wait_for "$terminal" 'name? '; echo bob; wait_for "$terminal" hello; } |
  on_terminal "kubectl --namespace demo exec -it shell -- sh -c 'stty size; stty -echo; printf \"name? \"; read x; echo hello \$x; exit 7'"

#: exec on a terminal that changes its size [stream]
wait_for "$terminal" '44 133' | on_terminal "
  (until grep -q ready $terminal; do sleep 0.05; done; stty rows 44 cols 133 </dev/tty) &
  kubectl --namespace demo exec -it shell -- sh -c 'stty size; trap \"stty size; exit 5\" WINCH; echo ready; while :; do sleep 0.05; done'"

#: attach: what is written comes back [stream, apart]
rm -f input && mkfifo -m 600 input
kubectl --namespace demo attach -i shell -c shell <input >attached 2>&1 & session=$!
exec 3>input
until grep -q tick attached; do echo tick >&3; sleep 0.05; done
echo "this is said once" >&3
wait_for attached 'said once'
end_of "$session"
grep -v tick attached

#: attach on a terminal, until the process ends [stream]
pod() { printf '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"%s"},"spec":{"nodeName":"test-node","restartPolicy":"Never","automountServiceAccountToken":false,"containers":[{"name":"c","image":"none","stdin":true,"tty":%s,"command":["sh","-c","%s"]}]}}' "$1" "$2" "$3" | kubectl create --filename -; }
pod asked true '(while :; do echo tick; sleep 0.1; done) & stty -echo; read x; kill $!; stty size; echo got $x; exit 6'
kubectl wait pod/asked --for condition=Ready --timeout 20s
{ wait_for "$terminal" tick; echo bob; wait_for "$terminal" got; } |
  on_terminal "kubectl --namespace $NS attach -it asked" | grep -v tick
kubectl delete pod asked --now

#: run attached, its input and exit code, and removed [stream]
echo "typed in" | kubectl run once --rm -i --quiet --restart Never --image none --overrides '{"spec":{"nodeName":"test-node"}}' \
  --pod-running-timeout 20s --command -- sh -c 'read x; sleep 0.5; echo "got $x"; exit 5' || echo "exit code $?"

#: logs [stream]
kubectl --namespace demo logs shell -c bulk --tail 3
kubectl --namespace demo logs shell -c bulk | sha256sum
kubectl --namespace demo logs shell -c bulk --limit-bytes 1000
kubectl --namespace demo logs shell -c bulk --timestamps --tail 2
kubectl --namespace demo logs --selector app=shell -c bulk --tail 2 --prefix
kubectl --namespace demo logs shell --all-containers --prefix --tail 0
expect 1 kubectl --namespace demo logs shell -c bulk --previous
expect 1 kubectl --namespace demo logs nobody
expect 1 kubectl --namespace demo logs shell -c nothing

#: logs -f of what goes on, and of what ends [stream]
rm -f lines && mkfifo -m 600 lines
kubectl --namespace demo logs -f shell -c log >lines & follow=$!
head -n 30 <lines
wait "$follow" || echo "exit code $?"
printf '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"talker"},"spec":{"nodeName":"test-node","restartPolicy":"Never","automountServiceAccountToken":false,"containers":[{"name":"c","image":"none","command":["sh","-c","for i in 1 2 3 4 5; do echo $i; sleep 0.2; done; exit 3"]}]}}' | kubectl create --filename -
kubectl wait pod/talker --for condition=Ready --timeout 20s
kubectl logs -f talker || echo "exit code $?"
kubectl delete pod talker --now

#: cp both ways, 50 MB [stream]
test -s big || head -c 52428800 /dev/urandom >big
kubectl --namespace demo cp big "shell:big-$NS" || echo "exit code $?"
kubectl --namespace demo cp "shell:big-$NS" back || echo "exit code $?"
kubectl --namespace demo exec shell -- rm "big-$NS"
cmp big back && ls -l back | awk '{print $5}' && rm back

#: cp of a directory, and of nothing [stream]
mkdir -p tree/a/b && echo 1 >tree/a/one && echo 2 >tree/a/b/two && chmod 640 tree/a/one
kubectl --namespace demo cp tree "shell:tree-$NS"
kubectl --namespace demo cp "demo/shell:tree-$NS" returned
kubectl --namespace demo exec shell -- rm -r "tree-$NS"
(cd returned && find . -type f -exec stat -c '%a %s %n' {} + | sort) && diff -r tree returned && rm -r returned
# What tar says on this races with its exit, straight as well.
kubectl --namespace demo cp shell:nothing nothing >/dev/null 2>&1 || echo "exit code $?"
kubectl --namespace demo cp nothing shell:nothing || echo "exit code $?"

#: port-forward under 200 connections at once [stream]
kubectl --namespace demo port-forward pod/shell :7000 :8080 >forward 2>&1 & forward=$!
wait_for forward '127.0.0.1:.* -> 8080'
port() { sed -n "s/.*127.0.0.1:\([0-9]*\) -> $1/\1/p" forward; }
bash -c 'for i in {1..200}; do exec {fd}<>/dev/tcp/127.0.0.1/$1 || exit 1; all+=($fd); done
  for i in {1..200}; do echo "hello $i" >&${all[i-1]}; done
  for i in {1..200}; do read -t 20 -u ${all[i-1]} line && echo "$line"; done' - "$(port 7000)"
seq -f "http://127.0.0.1:$(port 8080)/%g" 1 20 | xargs -P 5 -n 1 curl -sS --max-time 20 | sort
end_of "$forward"
sed '/^Handling connection/d; s/:[0-9]* /:PORT /' forward | sort

#: port-forward to a port where nothing listens [stream]
kubectl --namespace demo port-forward pod/shell :9 >forward 2>&1 & forward=$!
wait_for forward '127.0.0.1:.* -> 9'
# With SPDY the pod's side may reset the streams before kubectl has made the second, straight as well; then it says "Stream reset" only.
for try in 1 2 3 4 5 6 7 8 9 10; do
  curl -sS --max-time 20 "http://127.0.0.1:$(sed -n 's/.*127.0.0.1:\([0-9]*\) -> 9/\1/p' forward)/" >/dev/null 2>&1 && echo "curl succeeded"
  grep -q 'error occurred' forward && break
  sleep 0.1
done
wait_for forward 'error occurred'
kill "$forward" 2>/dev/null || true
wait "$forward" 2>/dev/null || true
grep -o 'failed to connect to port 9 of the pod' forward | sort -u

#: port-forward to nothing (1)
kubectl --namespace demo port-forward pod/nobody :80

#: kubectl proxy, and applications behind the API server
kubectl proxy --port 0 --append-server-path >proxy 2>&1 & proxy=$!
wait_for proxy 'serve on'
at=http://$(sed -n 's/.*serve on //p' proxy)
curl -sS "$at/version"
curl -sS "$at/api/v1/namespaces/demo/pods/shell:8080/proxy/some%2Fpath?a=b"
curl -sS -o /dev/null -w '%{http_code} %{content_type}\n' "$at/api/v1/namespaces/demo/pods/nobody:8080/proxy/"
curl -sS -o /dev/null -w '%{http_code} %{redirect_url}\n' "$at/api/v1/namespaces/demo/pods/shell:8080/proxy"
curl -sS -X POST -H 'Content-Type: application/json' -d '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"by-proxy"}}' "$at/api/v1/namespaces/$NS/configmaps?dryRun=All"
end_of "$proxy"
# The API server refuses to go to loopback addresses, which all of this test cluster has: the refusal is what is compared.
expect 1 kubectl get --raw /api/v1/namespaces/demo/pods/shell:8080/proxy/hello
expect 1 kubectl get --raw /api/v1/nodes/test-node/proxy/healthz
