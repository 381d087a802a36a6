#: a deployment rolls out [core]
kubectl create deployment web --image none:1 --replicas 3
kubectl rollout status deployment/web --timeout 60s | tail -n 1
kubectl get deployment web --output wide
kubectl get pods --selector app=web --output custom-columns=PHASE:.status.phase,IMAGE:.spec.containers[0].image
kubectl describe deployment web | sed '/^Events:/,$d'

#: scale, and with a wrong precondition
kubectl scale deployment/web --replicas 5
kubectl rollout status deployment/web --timeout 60s | tail -n 1
expect 1 kubectl scale deployment/web --current-replicas 2 --replicas 1
kubectl scale deployment/web --current-replicas 5 --replicas 2
kubectl wait deployment/web --for jsonpath='{.status.replicas}'=2 --timeout 30s
kubectl get deployment web --subresource scale --output yaml

#: set image, history, undo, restart, pause
kubectl set image deployment/web none=none:2
kubectl rollout status deployment/web --timeout 60s | tail -n 1
kubectl rollout history deployment/web
kubectl rollout history deployment/web --revision 2
kubectl rollout undo deployment/web
kubectl rollout status deployment/web --timeout 60s | tail -n 1
kubectl rollout pause deployment/web
expect 1 kubectl rollout pause deployment/web
kubectl rollout resume deployment/web
kubectl rollout restart deployment/web
kubectl rollout status deployment/web --timeout 60s | tail -n 1
kubectl get replicasets --selector app=web --output custom-columns=IMAGE:.spec.template.spec.containers[0].image --no-headers | sort

#: set env, resources, selector, serviceaccount
kubectl set env deployment/web A=1 B-
kubectl set env deployment/web --list
kubectl set resources deployment/web --limits cpu=1,memory=64Mi
kubectl set serviceaccount deployment/web robot
kubectl rollout status deployment/web --timeout 60s | tail -n 1
kubectl create service clusterip web --tcp 80:80
kubectl set selector service web app=other
kubectl get service web --output jsonpath='{.spec.selector}'

#: expose and autoscale
kubectl expose deployment web --name web-2 --port 80 --target-port 8080 --type NodePort
kubectl get service web-2
kubectl describe service web-2
kubectl autoscale deployment web --min 1 --max 4 --cpu 80%
kubectl get hpa web --output yaml | sed '/^status:/,$d'
kubectl delete hpa web

#: run, with what it makes
kubectl run lone --image none --restart Never --labels role=lone --port 80 --env A=1 --overrides '{"spec":{"nodeName":"kwok-2"}}'
kubectl wait pod/lone --for condition=Ready --timeout 30s
kubectl get pod lone --output json
kubectl describe pod lone --show-events=false
kubectl run other --image none --dry-run=client --output yaml --command -- sleep 1
kubectl run lone --image none || echo "exit code $?"

#: an ephemeral container
kubectl debug lone --image none --container looker --attach=false --profile general
kubectl get pod lone --output jsonpath='{.spec.ephemeralContainers[*].name}'

#: delete with and without the grace period, orphans
kubectl delete pod lone --grace-period 0 --force
kubectl create deployment orphans --image none --replicas 1
kubectl rollout status deployment/orphans --timeout 60s | tail -n 1
kubectl delete deployment orphans --cascade=orphan
kubectl get replicasets --selector app=orphans --output custom-columns=WANTED:.spec.replicas
kubectl delete replicasets --selector app=orphans --output name

#: a job ends
kubectl create job once --image none -- true
kubectl get job once --output jsonpath='{.spec.template.spec.containers[0].command}'
kubectl create job more --from cronjob/rare
kubectl delete job once more

#: statefulset and daemonset roll
kubectl apply --filename - <<'END'
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: stays}
spec:
  serviceName: stays
  replicas: 2
  selector: {matchLabels: {app: stays}}
  template: {metadata: {labels: {app: stays}}, spec: {containers: [{name: c, image: none}]}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: everywhere}
spec:
  selector: {matchLabels: {app: everywhere}}
  template: {metadata: {labels: {app: everywhere}}, spec: {nodeSelector: {type: kwok}, containers: [{name: c, image: none}]}}
END
kubectl rollout status statefulset/stays --timeout 60s | tail -n 1
kubectl rollout status daemonset/everywhere --timeout 60s | tail -n 1
kubectl get pods --selector app=stays
kubectl get pods --selector app=everywhere --output custom-columns=NODE:.spec.nodeName --sort-by .spec.nodeName
kubectl delete statefulset stays
kubectl delete daemonset everywhere

#: label, taint and cordon a node [core, apart]
kubectl label node kwok-2 tested=yes
kubectl taint node kwok-2 tested=yes:PreferNoSchedule
expect 1 kubectl taint node kwok-2 tested=no:PreferNoSchedule
kubectl cordon kwok-2
kubectl cordon kwok-2
kubectl get node kwok-2 --show-labels
kubectl get node kwok-2 --output jsonpath='{.spec.taints[*].key}'
kubectl uncordon kwok-2
kubectl taint node kwok-2 tested-
kubectl label node kwok-2 tested-

#: drain a node, and when a pod has no owner [apart]
kubectl run lone --image none --labels "drained=$NS" --overrides '{"spec":{"nodeName":"kwok-1"}}'
kubectl wait pod/lone --for condition=Ready --timeout 30s
expect 1 kubectl drain kwok-1 --pod-selector "drained=$NS"
kubectl drain kwok-1 --pod-selector "drained=$NS" --force --timeout 60s
kubectl uncordon kwok-1
kubectl get pods --selector "drained=$NS"

#: describe a node
kubectl describe node test-node --show-events=false
