//! A Kubernetes cluster keeps the contract.

use super::kubernetes::cluster;
use super::suite::keeps_the_contract;

keeps_the_contract!(async { cluster::namespace().await });
