from mishards.routing.protocol import RoutingPolicy
from mishards.routing.registry import policy
from mishards.routing.rendezvous import Rendezvous
from mishards.testing.routing_contract import RoutingContract


class TestConsistentHash(RoutingContract):
    def policy(self) -> RoutingPolicy:
        return policy("consistent_hash")


class TestRendezvous(RoutingContract):
    def policy(self) -> RoutingPolicy:
        return policy("rendezvous")


class TestRendezvousWithoutBound(RoutingContract):
    def policy(self) -> RoutingPolicy:
        return Rendezvous(bound=None)
