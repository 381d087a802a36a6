//! Links and streams: the only place that names quinn. Knows nothing of Kubernetes.
