#: make a namespace [all]
kubectl create namespace "$NS"
until kubectl get serviceaccount default >/dev/null 2>&1; do sleep 0.1; done

#: the transport is the one that was asked for [all]
GODEBUG=http2debug=1 kubectl get --raw /livez >/dev/null 2>trace || exit 1
if grep -q 'Transport received' trace; then http=2; else http=1.1; fi
echo "http/$http"; [ "$http" = "$EXPECT_HTTP" ] || exit 1
kubectl -v=9 --namespace demo exec shell -- true 2>trace || exit 1
grep -oiE 'upgrade: (websocket|spdy/3.1)' trace | tr A-Z a-z | sort -u | tee upgrade
[ "$(cat upgrade)" = "upgrade: $EXPECT_UPGRADE" ]

#: version [core]
kubectl version
kubectl version --output json

#: api-resources, cold cache [core]
rm -rf "$KUBECACHEDIR"
kubectl api-resources

#: api-resources, warm cache
kubectl api-resources --output wide --sort-by name
kubectl api-resources --namespaced=false --verbs list,get --output name
kubectl api-resources --api-group apps --no-headers
kubectl api-resources --api-group apps --cached

#: api-versions
kubectl api-versions

#: a first get with a cold cache
rm -rf "$KUBECACHEDIR"
kubectl get configmaps --namespace kube-system

#: cluster-info
kubectl cluster-info

#: explain
kubectl explain pods.spec.containers
kubectl explain deployments --recursive
kubectl explain horizontalpodautoscalers.spec --api-version autoscaling/v2

#: explain with OpenAPI v2 [core]
kubectl explain deployment.spec.strategy --output plaintext-openapiv2

#: explain of what does not exist (1)
kubectl explain pods.spec.nonsense

#: raw documents [core]
kubectl get --raw /version
kubectl get --raw /api
kubectl get --raw /apis
kubectl get --raw /api/v1/namespaces/kube-public
kubectl get --raw '/livez?verbose&exclude=etcd'

#: raw OpenAPI, megabytes of it
kubectl get --raw /openapi/v2 | sha256sum
kubectl get --raw /openapi/v3 | sha256sum
kubectl get --raw /openapi/v3/apis/apps/v1 | sha256sum

#: raw of a path that does not exist (1)
kubectl get --raw /apis/none.example.com/v1

#: a kind that does not exist (1) [core]
kubectl get nonsenses

#: an object that does not exist (1)
kubectl get configmap nothing

#: a deprecated kind brings its warning
kubectl get componentstatuses --output name | sort

#: who am I [core]
kubectl auth whoami
kubectl auth whoami --output yaml
kubectl auth whoami --output json

#: what may I
kubectl auth can-i --list
kubectl auth can-i '*' '*' --all-namespaces
kubectl auth can-i get pods --subresource log

#: as another person, who may little [core]
kubectl --as bob --as-group devs auth whoami --output yaml
kubectl --as bob --as-group devs auth can-i --list
expect 1 kubectl --as bob --as-group devs auth can-i create deployments

#: as another person: denied, with a cold cache (1)
rm -rf "$KUBECACHEDIR"
kubectl --as bob --as-group devs get pods

#: top without metrics (1)
kubectl top pods
