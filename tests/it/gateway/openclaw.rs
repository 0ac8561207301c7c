//! The same against real gateways, which tests/run/openclaw.sh starts.
