"""What the build writes beside the messages of the contract: a module for each file.

All is made from the descriptors of ``runmeter/v1``, their comments and the rules of
``runmeter/options.proto``.
"""
