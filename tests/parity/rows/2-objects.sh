#: create 250 objects in one command [core]
seq -f '%03g' 1 250 | while read -r i; do
  printf 'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: many-%s\n  labels: {kind: many, rest: "%s"}\ndata:\n  i: "%s"\n  text: %s\n---\n' \
    "$i" "$((${i#"${i%%[!0]*}"} % 10))" "$i" "$(head -c 1500 /dev/zero | tr '\0' x)"
done >many.yaml
kubectl create --filename many.yaml

#: lists in chunks [core]
kubectl get configmaps --chunk-size 20
kubectl get configmaps --chunk-size 40 --output name
kubectl get configmaps --chunk-size 0 --show-labels

#: a big list in JSON, by chunks and at once
kubectl get configmaps --chunk-size 100 --output json
kubectl get configmaps --chunk-size 0 --output json | wc -l

#: selectors
kubectl get configmaps --selector 'kind=many,rest in (1,2),rest notin (2)' --output name
kubectl get configmaps --selector '!kind'
kubectl get configmaps --field-selector metadata.name=many-007 --label-columns rest,kind
kubectl get configmaps --field-selector metadata.name!=many-007 --selector rest=7 --no-headers
kubectl get namespaces --selector "kubernetes.io/metadata.name in ($NS,kube-system)" --show-labels

#: a selector that cannot be read (1)
kubectl get configmaps --selector 'a in (b'

#: every output of get [core]
kubectl get configmap many-001 --output yaml
kubectl get configmap many-001 --output json --show-managed-fields
kubectl get configmap/many-001 configmap/many-002 --output name
kubectl get configmaps --selector rest=3 --output jsonpath='{range .items[*]}{.metadata.name}{"\t"}{.data.i}{"\n"}{end}'
kubectl get configmaps --selector rest=3 --output custom-columns=NAME:.metadata.name,I:.data.i,NONE:.data.none --sort-by '{.data.i}'
kubectl get configmaps --selector rest=3 --output go-template='{{range .items}}{{.metadata.name}} {{.data.i}}{{"\n"}}{{end}}'
kubectl get configmap many-001 --output kyaml

#: outputs of get from files
echo '{.items[*].data.i}' >path && kubectl get configmaps --selector rest=4 --output jsonpath-file=path
printf 'NAME          I\nmetadata.name data.i\n' >columns && kubectl get configmaps --selector rest=4 --output custom-columns-file=columns
echo '{{len .items}}' >template && kubectl get configmaps --output go-template-file=template

#: a template that fails (1)
kubectl get configmap many-001 --output go-template='{{index .data.i 99}}'

#: several kinds, all namespaces, sorted
kubectl get configmaps,serviceaccounts --selector '!kind' --show-kind
kubectl get configmaps --all-namespaces --field-selector metadata.name=kube-root-ca.crt,metadata.namespace=kube-system
kubectl get nodes --output wide --sort-by .metadata.name
kubectl get nodes --label-columns type
kubectl get all

#: server-side printing off, ignore-not-found
kubectl get configmaps --selector rest=5 --server-print=false
kubectl get configmap nothing --ignore-not-found

#: create of many kinds [core]
kubectl create configmap one --from-literal a=1 --from-literal b=2
kubectl create secret generic hidden --from-literal password=sesame
kubectl create secret tls nothing --cert none --key none || echo "exit code $?"
kubectl create serviceaccount robot
kubectl create role reader --verb get,list --resource configmaps
kubectl create rolebinding robot-reads --role reader --serviceaccount "$NS:robot"
kubectl create quota small --hard configmaps=1000
kubectl create poddisruptionbudget budget --selector app=none --min-available 1
kubectl create ingress way --rule 'example.com/*=web:80'
kubectl create cronjob rare --image none --schedule '0 0 1 1 *' -- true
kubectl create clusterrole unused --verb get --resource nodes --dry-run=server --output yaml
kubectl create priorityclass unused --value 1 --dry-run=client --output yaml
kubectl get configmaps,secrets,serviceaccounts,roles,rolebindings,quota,pdb,ingress,cronjobs --selector '!kind'

#: what another person may with a role
kubectl create rolebinding devs-read --role reader --group devs
kubectl --as bob --as-group devs get configmap one --output jsonpath='{.data}'
expect 1 kubectl --as bob --as-group devs delete configmap one
kubectl --as bob --as-group devs auth can-i list configmaps

#: create of what exists (1)
kubectl create configmap one --from-literal a=1

#: create of what is not valid (1) [core]
kubectl create --filename - <<'END'
{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "Not_Valid"}, "spec": {"ports": [{"port": 99999}]}}
END

#: unknown fields: strict, warned, ignored
unknown() { kubectl create --filename - "--validate=$1" --dry-run=server <<'END'
{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "odd"}, "dato": {"a": "1"}}
END
}
expect 1 unknown strict
expect 0 unknown warn
expect 0 unknown ignore

#: apply, again, and changed [core]
cat >apply.yaml <<'END'
apiVersion: v1
kind: ConfigMap
metadata: {name: applied, labels: {part: of-apply}}
data: {a: "1", b: "2"}
---
apiVersion: v1
kind: Secret
metadata: {name: applied, labels: {part: of-apply}}
stringData: {c: "3"}
END
kubectl apply --filename apply.yaml
kubectl apply --filename apply.yaml
sed -i 's/b: "2"/d: "4"/' apply.yaml
kubectl apply --filename apply.yaml
kubectl get configmap applied --output yaml
kubectl apply view-last-applied configmap applied
kubectl apply --filename apply.yaml --dry-run=server --output json

#: apply from a kustomization, and pruned
mkdir -p base && printf 'resources: [one.yaml]\nnamePrefix: k-\n' >base/kustomization.yaml
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: custom}\ndata: {x: "1"}\n' >base/one.yaml
kubectl apply --kustomize base
kubectl delete --kustomize base
sed '/^---/,$d' apply.yaml >less.yaml
kubectl apply --filename less.yaml --prune --selector part=of-apply --prune-allowlist core/v1/Secret --prune-allowlist core/v1/ConfigMap

#: server-side apply, and its conflict [core]
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: owned}\ndata: {a: "1"}\n' >owned.yaml
kubectl apply --server-side --field-manager first --filename owned.yaml
sed -i 's/"1"/"2"/' owned.yaml
expect 1 kubectl apply --server-side --field-manager second --filename owned.yaml
kubectl apply --server-side --field-manager second --force-conflicts --filename owned.yaml
kubectl get configmap owned --output yaml --show-managed-fields

#: diff says what would change [core]
kubectl diff --filename owned.yaml --server-side --field-manager second || echo "exit code $?"
sed -i 's/"2"/"3"/' owned.yaml
expect 1 kubectl diff --filename owned.yaml
expect 1 kubectl diff --filename owned.yaml --server-side --force-conflicts

#: patch: merge, JSON, strategic, from a file [core]
kubectl patch configmap one --type merge --patch '{"data":{"b":null,"c":"3"}}'
kubectl patch configmap one --type json --patch '[{"op":"replace","path":"/data/a","value":"9"}]'
kubectl patch serviceaccount robot --type strategic --patch '{"imagePullSecrets":[{"name":"pull"}]}'
printf 'data: {file: "yes"}\n' >patch.yaml && kubectl patch configmap one --patch-file patch.yaml
kubectl get configmap/one serviceaccount/robot --output yaml

#: a patch that does not fit (1)
kubectl patch configmap one --type json --patch '[{"op":"test","path":"/data/a","value":"none"}]'

#: replace, and with an old version [core]
kubectl get configmap one --output json >one.json
sed 's/"9"/"10"/' one.json | kubectl replace --filename -
expect 1 kubectl replace --filename one.json
kubectl replace --force --filename owned.yaml

#: edit with an editor that changes, one that does not, one that fails [core]
KUBE_EDITOR='sed -i s/\"10\"/\"11\"/' kubectl edit configmap one
KUBE_EDITOR=true kubectl edit configmap one
KUBE_EDITOR=false kubectl edit configmap one || echo "exit code $?"
KUBE_EDITOR='sed -i s/a:/b:/' kubectl edit configmap one --output json

#: label and annotate [core]
kubectl label configmap one tier=front
expect 1 kubectl label configmap one tier=back
kubectl label configmap one tier=back --overwrite
kubectl label configmap one tier-
kubectl annotate configmap one note='two words' --resource-version="$(kubectl get configmap one --output jsonpath='{.metadata.resourceVersion}')"
kubectl annotate configmap --selector rest=6 seen=yes
kubectl label configmap one --list

#: describe
kubectl describe configmap one
kubectl describe role reader
kubectl describe serviceaccount robot
kubectl describe quota small
kubectl describe namespace "$NS"

#: events
kubectl create --filename - <<END
{"apiVersion": "v1", "kind": "List", "items": [
{"apiVersion": "v1", "kind": "Event", "metadata": {"name": "made.1", "namespace": "$NS"}, "type": "Warning", "reason": "Odd", "message": "something odd",
"involvedObject": {"kind": "ConfigMap", "name": "one", "namespace": "$NS"}, "lastTimestamp": "2020-01-01T00:00:00Z", "count": 3},
{"apiVersion": "v1", "kind": "Event", "metadata": {"name": "made.2", "namespace": "$NS"}, "type": "Normal", "reason": "Even", "message": "nothing odd",
"involvedObject": {"kind": "ConfigMap", "name": "two", "namespace": "$NS"}, "lastTimestamp": "2020-01-02T00:00:00Z", "count": 1}]}
END
kubectl get events --field-selector reason=Odd
kubectl events --types Warning
kubectl events --for configmap/two --output name

#: watch sees a change [core]
kubectl create configmap watched --from-literal a=1
kubectl get configmaps --field-selector metadata.name=watched --watch --output-watch-events >seen &
watch=$!
wait_for seen ADDED
kubectl patch configmap watched --type merge --patch '{"data":{"b":"2"}}'
wait_for seen MODIFIED
kubectl delete configmap watched
wait_for seen DELETED
end_of "$watch"
cat seen

#: watch-only, in JSON, of one object
kubectl get configmap one --watch-only --output json >seen & watch=$!
kubectl get configmap one --watch --output name >begun & begun=$!
wait_for begun configmap/one
until grep -q back2 seen; do kubectl label configmap one --overwrite "mark=back$((n = ${n:-0} + 1))" >/dev/null; sleep 0.1; done
end_of "$watch"; end_of "$begun"
grep -q '"kind": "ConfigMap"' seen

#: wait for a value, for an end, in vain [core]
kubectl wait configmap/one --for jsonpath='{.data.file}'=yes --timeout 10s
kubectl create configmap short --from-literal a=1
kubectl -v=6 wait configmap/short --for delete --timeout 20s >waited 2>log & waiting=$!
wait_for log watch=true
kubectl delete configmap short
wait "$waiting"
cat waited
expect 1 kubectl wait configmap/one --for jsonpath='{.data.file}'=no --timeout 1s
expect 1 kubectl wait configmap/nothing --for condition=Ready --timeout 1s

#: delete in every way [core]
kubectl delete configmap many-001
expect 1 kubectl delete configmap many-001
kubectl delete configmap many-001 --ignore-not-found
kubectl delete configmaps --selector rest=2 --wait=false
kubectl delete secret hidden --dry-run=server
kubectl delete secret/hidden role/reader --output name
kubectl delete --filename owned.yaml --now

#: a kind of our own, and its objects [apart]
crd() { printf '%s' '{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"ships.'"$NS"'.example.com"},"spec":{"group":"'"$NS"'.example.com","scope":"Namespaced","names":{"kind":"Ship","plural":"ships","singular":"ship","shortNames":["sh"]},"versions":[{"name":"v1","served":true,"storage":true,"subresources":{"status":{},"scale":{"specReplicasPath":".spec.masts","statusReplicasPath":".status.masts"}},"additionalPrinterColumns":[{"name":"Masts","type":"integer","jsonPath":".spec.masts"}],"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object","required":["masts"],"properties":{"masts":{"type":"integer","minimum":1,"description":"How many masts."}}},"status":{"type":"object","properties":{"masts":{"type":"integer"}}}}}}}]}}'; }
crd | kubectl apply --filename -
kubectl wait "crd/ships.$NS.example.com" --for condition=Established --timeout 20s
ship() { printf 'apiVersion: %s.example.com/v1\nkind: Ship\nmetadata: {name: %s}\nspec: {masts: %s}\n' "$NS" "$1" "$2"; }
ship brig 2 | kubectl apply --filename -
ship wreck 0 | kubectl create --filename - || echo "exit code $?"
kubectl get ships,sh --output wide
kubectl scale "ships.$NS.example.com/brig" --replicas 3
kubectl patch ship brig --subresource status --type merge --patch '{"status":{"masts":3}}'
kubectl get ship brig --output yaml
kubectl get ship brig --subresource scale --output yaml
kubectl delete ship --all
kubectl delete crd "ships.$NS.example.com"

#: tokens and certificates
kubectl create token robot --duration 1h --audience someone
kubectl create token nobody || echo "exit code $?"
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null -subj /CN=sailor 2>/dev/null | base64 -w0 >request
for name in yes no; do
  printf '{"apiVersion":"certificates.k8s.io/v1","kind":"CertificateSigningRequest","metadata":{"name":"%s-%s"},"spec":{"signerName":"example.com/none","usages":["client auth"],"request":"%s"}}' \
    "$NS" "$name" "$(cat request)" | kubectl create --filename -
done
kubectl certificate approve "$NS-yes"
kubectl certificate deny "$NS-no"
kubectl get csr "$NS-yes" "$NS-no"
kubectl delete csr "$NS-yes" "$NS-no"
