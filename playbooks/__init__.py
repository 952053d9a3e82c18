"""The playbooks: site.yml and one role per obstacle that has a fix on the machine."""
