# What must differ between two runs, and nothing else: where the server is, when it was, and what the cluster drew by lot.

# client-go says this once for each transport that it makes, and a credential plugin gives it one more.
/HTTP2 has been explicitly disabled/d

# Where: the server, local ports, the namespace and directory of the run, temporary files of kubectl's.
s#https://127\.0\.0\.1:[0-9]+(/clusters/edge-1)?#SERVER#g
s#(127\.0\.0\.1|\[::1\]):[0-9]+#\1:PORT#g
s#parity-[0-9][st]#parity-NN#g
s#/tmp/kubectl-edit-[0-9]+#/tmp/kubectl-edit-N#g
s#/tmp/(LIVE|MERGED)-[0-9]+#/tmp/\1-N#g

# When: log heads, timestamps.
s#^([EIW])[0-9]{4} [0-9:.]+ +[0-9]+ #\1TIME PID #
s#20[0-9]{2}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z| [+-][0-9]{4}( UTC)?)?#TIME#g
s#(Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-9]{2} [A-Z][a-z]{2} 20[0-9]{2} [0-9:]{8} [+-][0-9]{4}#TIME#g

# By lot: uids, versions, pod names, addresses of services, tokens.
s#[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}#UID#g
s#(resourceVersion"?: ?"?)[0-9]+#\1RV#g
s#eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+#TOKEN#g
s#(-[0-9a-f]{8,10}|kube-api-access)-[bcdfghjklmnpqrstvwxz2456789]{5}\b#\1-POD#g
s#\b10\.0\.0\.[0-9]+#10.0.0.N#g
s#\b3[0-2][0-9]{3}/TCP#NODEPORT/TCP#g

# Ages: a whole word of a table; columns behind it move with its width.
s#(^|  +)([0-9]+(d|h|m|s)){1,2}(  +|$)#\1AGE\4#g
s#\(([0-9]+(d|h|m|s)){1,2} ago\)#(AGE ago)#g
/AGE|10\.0\.0\.N|NODEPORT/s#  +#  #g
