"""Made-up traffic with incidents: SUMO drives on a motorway, and now and then something goes wrong."""
