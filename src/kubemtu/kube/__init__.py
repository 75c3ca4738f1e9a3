"""The Kubernetes API, and nothing else of a cluster: who connects how, what is asked, what an answer or its lack means.

`api` has the verbs; `read`, `write` and `rollout` are what flows need of them; `mtu`, `probes` and `crd` keep the
kinds of kubemtu's own; what goes wrong is in `errors`, a sentence each.
"""
