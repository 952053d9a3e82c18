"""A bundle: one file that carries a site without a network. Here is all that reads one; ``provision.bundle`` makes them.

Standard library and Python 3.10 only: beside every bundle lies ``FILE.pyz``, this folder as one program, for a machine
that has nothing but ``python3`` and ``ssh-keygen``. The file is a plain, uncompressed tar archive:

    manifest.json         what the bundle is for, and path, size and sha256 of every member below: ``manifest``
    manifest.json.sig     a signature of those bytes, as ``ssh-keygen -Y sign -n provision-bundle`` makes it: ``signature``
    cache/                the tool's cache folder as ``provision up`` looks for it (``PROVISION_CACHE``): wheels/,
                          installer/ and the base image's archive
    debs/                 a flat Debian repository: the packages that the roles install, with all they stand on
    model/                the model's files, where one was asked for
    run/                  provision.toml, facts.json, plan.json, rendered/ and playbooks/, as far as they were given
    sbom.cdx.json         what is in here, in CycloneDX
    tool/                 the tool's wheel, all wheels of its lock, and the lock

Members stand in the order of their paths, with nothing between, before or after. So the manifest says every byte of the
file: nothing here reads a tar archive, it is compared with the one that the manifest describes (``layout``, ``walk``).
"""
